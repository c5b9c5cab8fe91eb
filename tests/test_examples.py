"""The examples that need downloaded data: read, cut and designed as they say; skipped without the data."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import REPO, random_graph_network
from sparcl_mcu import config, prepare
from sparcl_tools.plan import plan

EXAMPLES = [path.parent.name for path in sorted((REPO / "examples").glob("*/experiment.toml"))]


def scenario(name: str) -> tuple[config.Config, prepare.Scenario]:
    found = config.load(REPO / "examples" / name / "experiment.toml")
    folder = os.environ.get("SPARCL_DATA_DIR")
    if found.data.source != "digits" and not (folder and Path(folder, f"{found.data.source}.npz").is_file()):
        pytest.skip(f"{found.data.source}.npz is not in SPARCL_DATA_DIR")
    return found, prepare.scenario(found, None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_cut_and_designed_as_it_says(name: str) -> None:
    found, made = scenario(name)
    assert found.name == name
    covered = [set(task.classes) for task in made.tasks]
    assert set().union(*covered) == set(range(made.data.classes))
    if found.data.domains:  # every task has all classes
        assert all(classes == covered[0] for classes in covered)
    else:
        assert sum(len(classes) for classes in covered) == made.data.classes
    assert made.base[0].classes == made.tasks[0].classes
    assert made.base_samples >= len(made.tasks[0].y_train)
    graph = prepare.design(found.network, made.data.sample_shape, made.data.classes)
    network = random_graph_network(graph, 0)
    memory = plan(network, prepare.room(found, network))
    assert memory.state_bytes + memory.arena_bytes < 512 * 1024


def test_the_host_has_all_samples_of_its_tasks_also_where_the_board_sees_few() -> None:
    found = config.load(REPO / "examples" / "digits" / "experiment.toml")
    found = replace(found, data=replace(found.data, samples_per_task=24), pretrain=replace(found.pretrain, tasks=2))
    made = prepare.scenario(found, None)
    whole = prepare.scenario(replace(found, data=replace(found.data, samples_per_task=None)), None)
    assert [len(task.y_train) for task in made.tasks] == [24] * 5
    assert [len(task.y_train) for task in made.base] == [len(task.y_train) for task in whole.tasks[:2]]
    assert made.base_names == "0, 1, 2, 3"


def test_kws_is_validated_on_other_speakers() -> None:
    _, made = scenario("kws_dscnn")
    names = [{made.data.class_names[c] for c in task.classes} for task in made.tasks]
    assert names[0] == {"down", "go", "left", "no", "_silence_", "_unknown_"}
    assert [len(each) for each in names] == [6, 2, 2, 2]
    speakers = {bytes(x): s for x, s in zip(made.data.x_train, made.data.groups["speaker"], strict=True)}
    train = {speakers[bytes(x)] for task in made.tasks for x in task.x_train}
    val = {speakers[bytes(x)] for task in made.tasks for x in task.x_val}
    assert train & val == {-1}  # silence has no speaker
    share = sum(len(t.y_val) for t in made.tasks) / len(made.data.y_train)
    assert share == pytest.approx(0.1, abs=0.02)


def test_the_board_sees_a_thousand_garments_a_task_and_the_host_all_of_the_first() -> None:
    _, made = scenario("fashion_cnn")
    assert [len(task.y_train) for task in made.tasks] == [1000] * 5
    assert made.base_samples == 2 * 5400
    assert np.array_equal(made.base[0].x_val, made.tasks[0].x_val)
