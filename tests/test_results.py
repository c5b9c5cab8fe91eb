"""The commands behind docs/results: paired seeds are kept and not run twice, pages say what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from helpers import REPO, random_graph_network
from sparcl_mcu import config, prepare, work
from sparcl_mcu.cli import (
    results_ewc,
    results_faults,
    results_latent,
    results_methods,
    results_operators,
    results_reference,
    results_sparcl,
    sparcl_targets,
)
from sparcl_mcu.cli.runs import pretrained, run_all, seeds
from sparcl_mcu.cli.sparcl_scenarios import SCENARIOS, configured, grid_rows, main_rows
from sparcl_mcu.learners.base import LearnSettings, Replay
from sparcl_mcu.reference import methods
from sparcl_tools.bench_replay import Cost
from sparcl_tools.plan import plan


def short_digits() -> config.Config:
    example = config.load(REPO / "examples" / "digits" / "experiment.toml")
    return dataclasses.replace(
        example,
        data=dataclasses.replace(example.data, samples_per_task=24),
        learn=dataclasses.replace(example.learn, epochs=1),
        pretrain=dataclasses.replace(example.pretrain, epochs=1, fine_tune_epochs=1),
    )


def test_a_finished_seed_is_kept_and_not_run_again(tmp_path: Path) -> None:
    short, quiet = short_digits(), Console(quiet=True)
    first = run_all(seeds(short, [3]), None, tmp_path, quiet)
    assert first[0]["seed"] == 3
    assert 0 < first[0]["acc"] <= 1
    assert abs(first[0]["acc"] - first[0]["acc_float"]) < 0.2
    file = next(tmp_path.glob("*.json"))
    file.write_text(json.dumps(first[0] | {"acc": 0.5}))
    assert run_all(seeds(short, [3]), None, tmp_path, quiet)[0]["acc"] == 0.5
    assert not list(tmp_path.glob("*.part"))


def test_rows_that_start_from_the_same_network_pretrain_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = short_digits()
    other_rate = configured(short, {"learn": {"lr_exponent": -3}})
    sparser = configured(short, {"network": {"density": 0.1}})
    made, pretrain, times = prepare.scenario(short, None), prepare.pretrained, []
    monkeypatch.setattr(prepare, "pretrained", lambda *a: times.append(a[0].network.density) or pretrain(*a))
    first, second, third = (pretrained(each, made, tmp_path) for each in (short, other_rate, sparser))
    assert times == [short.network.density, 0.1]
    layer = first.trainable()[0].name
    assert np.array_equal(first.weights[layer].masters, second.weights[layer].masters)
    assert third.weights[layer].slots < first.weights[layer].slots
    pretrained(dataclasses.replace(short, seed=1), made, tmp_path)
    assert len(times) == 3


def test_the_page_tells_differences_in_points_and_every_outcome(tmp_path: Path) -> None:
    runs = [
        {"seed": s, "commit": "abc", "acc": 0.70 + 0.01 * s, "acc_float": 0.71, "config_hash": ""} for s in range(3)
    ]
    junit = tmp_path / "t.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="tests.test_networks" name="test_a[m3]"/>'
        '<testcase classname="tests.test_networks" name="test_a[m4]"><failure/></testcase>'
        '<testcase classname="tests.test_mutations" name="test_b[x]"/></testsuite></testsuites>'
    )
    memory = {"ram_bytes": 300_000, "state": 1, "arena": 2, "peak": "loss"}
    page = results_operators._page(
        {
            "date": "2026-01-02",
            "pairs": {"fashion_cnn": runs, "kws_dscnn": runs},
            "resnet8": {"all": memory, "stage 3": memory},
            "tests": results_operators._outcomes(junit),
        }
    )
    assert "71.0 ± 2.48 | 71.0 ± 0.00 | +0.00 ± 2.48 | within 0.5 | yes" in page
    assert "test_a 1 passed, 1 failure" in page
    assert "test_b 1 passed" in page
    assert "it does not" in page


def test_work_by_the_published_formula_and_as_counted() -> None:
    layers = [
        {"name": "a", "weights": 1000, "stored": 250, "positions": 2, "sparse": True, "frozen": False},
        {"name": "b", "weights": 100, "stored": 100, "positions": 1, "sparse": False, "frozen": False},
    ]
    stats = {"macs_forward": 1, "macs_input_grad": 20, "macs_weight_grad": 300, "macs_importance": 4000, "steps": 9}
    run = {"layers": layers, "presented": 50, "data_used": 0.8, "stats": stats}
    # half of the stored weights of `a` learn: 2000 * ((1 + 2) * 0.25 + 2 * 0.125) + 100 * ((1 + 2) + 2)
    masked = LearnSettings(replay=Replay.DERPP, dgm_share=32768)
    assert work.paper(run, masked) == 2 * 40 * (2000 * 1.0 + 500)
    assert work.paper(run, LearnSettings()) == 2 * 40 * (2000 * 4 * 0.25 + 400)
    assert work.counted(run) == 4321


def test_resnet8_spares_the_work_that_docs_say_by_its_shapes_alone() -> None:
    """At least 12x less at 0.95, before a sample is removed: which layers are sparse, how densities are spread."""
    scenario, found = SCENARIOS["seq_cifar10"], {}
    example = configured(config.load(REPO / "examples" / scenario.example / "experiment.toml"), scenario.change)
    for row in scenario.table():
        asked = configured(example, row.change)
        network = random_graph_network(prepare.design(asked.network, (32, 32, 3), 10), 0)
        run = {"layers": work.layers(network), "presented": 1, "data_used": 1.0}
        found[row.name] = work.paper(run, prepare.learn_settings(asked))
    assert found["dense"] / found["SparCL 0.95"] >= 12


@pytest.mark.parametrize("name", SCENARIOS)
def test_rows_of_a_scenario_are_different_configurations_that_can_be_learnt(name: str) -> None:
    scenario = SCENARIOS[name]
    example = configured(config.load(REPO / "examples" / scenario.example / "experiment.toml"), scenario.change)
    rows = scenario.table()
    table = {row.name: configured(example, row.change) for row in rows}
    assert len({(c.hash, row.control) for row, c in zip(rows, table.values(), strict=True)}) == len(rows) == len(table)
    assert all(row.against is None or row.against in table for row in rows)
    assert table[rows[0].name].network.density == (0.25 if rows[0].twin else 1)  # what work is compared with
    for found in table.values():
        prepare.learn_settings(found)


def test_the_rows_of_the_main_table() -> None:
    example = config.load(REPO / "examples" / "digits_sparcl" / "experiment.toml")
    rows = main_rows({"learn": {"lr_exponent": -6}})
    table = {row.name: configured(example, row.change) for row in rows}
    assert table["dense"].learn == dataclasses.replace(example.learn, lr_exponent=-6)
    assert table["SparCL 0.90"].learn == example.learn
    assert prepare.learn_settings(table["SparCL 0.90"]).dgm_share == pytest.approx(0.8 * 65536, abs=1)
    assert table["static random 0.75"].network.mask == "random"
    for name, found in table.items():
        settings = prepare.learn_settings(found)
        assert settings.masks_learn == name.startswith("SparCL"), name
        assert (settings.ddr_fraction > 0) == name.startswith("SparCL"), name


def test_targets_are_judged_on_means_and_say_what_was_not_run() -> None:
    def runs(*acc: float, floats: float = 0.0, weights: int = 6000, work_: float = 1.0) -> list[dict[str, float]]:
        facts = {"weight_bytes": weights, "work_paper": work_}
        return [facts | {"acc": a, "acc_float": a - floats} for a in acc]

    def of(rows: dict[str, tuple[str | None, list[dict[str, float]]]]) -> dict[str, object]:
        return {"rows": {name: {"against": other, "runs": found} for name, (other, found) in rows.items()}}

    dense = {"dense": (None, runs(0.80, 0.82, weights=36_000, work_=20.0))}
    measured = {
        "base_fashion_mlp": of(
            dense | {"SparCL 0.90": ("dense", runs(0.79, 0.80)), "SparCL 0.95": ("dense", runs(0.7))}
        ),
        "twins_kws": of({"SparCL 0.75": (None, runs(0.7, 0.8, floats=0.02))}),
    }
    text = sparcl_targets.table(measured)
    assert (
        "| no worse than -1.5 against dense DER++ | base_fashion_mlp | SparCL 0.90 | -1.50 ± 6.35 points, n 2 | met"
        in text
    )
    assert (
        "| masters, masks, index and accumulators at least 6x less | base_fashion_mlp | SparCL 0.90 | 6.0x | met |"
        in text
    )
    assert "| paper's work at least 20x less | base_fashion_mlp | SparCL 0.95 | 40.0x | met |" in text
    assert "| twins_kws | SparCL 0.75 | +2.00 ± 0.00 points, n 2 | **not met** |" in text
    assert "| seq_kws | SparCL 0.90 | not measured |  |" in text


def test_narrow_networks_take_no_more_ram_than_the_sparse_ones_beside_them() -> None:
    scenario = SCENARIOS["equal_ram"]
    example = configured(config.load(REPO / "examples" / scenario.example / "experiment.toml"), scenario.change)
    taken = []
    for row in scenario.table():
        found = configured(example, row.change)
        network = random_graph_network(prepare.design(found.network, (28, 28), 10), 0)
        memory = plan(network, prepare.room(found, network))
        taken.append(memory.state_bytes + memory.arena_bytes)
    for narrow, wide in zip(taken[::2], taken[1::2], strict=True):
        assert 0.85 * wide < narrow <= wide


def test_the_grid_has_every_combination_once() -> None:
    example = config.load(REPO / "examples" / "digits_sparcl" / "experiment.toml")
    found = [configured(example, row.change) for row in grid_rows({})[1:]]
    parts = {
        (c.network.density, c.tdm.importance != "off", c.ddr.fraction > 0, c.dgm.sparsity > 0, c.learn.single_head_loss)
        for c in found
    }
    assert len(found) == len(parts) == 32


def test_the_sparcl_page_pairs_rows_seed_by_seed() -> None:
    def run(acc: float, work_: float) -> dict[str, object]:
        return {
            "acc": acc,
            "acc_float": acc - 0.01,
            "task_il": 0.9,
            "forgetting": 0.1,
            "data_used": 0.9,
            "work_counted": work_,
            "work_paper": 3 * work_,
            "state_bytes": 5000,
            "replay_bytes": 1000,
            "weight_bytes": 3000,
            "commit": "abc",
        }

    found = {
        "example": "x",
        "changed": {"data": {"source": "y"}},
        "first_seed": 0,
        "date": "2026-01-02",
        "rows": {
            "dense": {"against": None, "control": "", "runs": [run(0.8, 100), run(0.7, 100)]},
            "SparCL 0.75": {"against": "dense", "control": "", "runs": [run(0.81, 20), run(0.69, 30)]},
        },
    }
    page = results_sparcl._page({"digits": found})
    assert "with `[data] source = y`, 2 seeds from 0" in page
    assert "| SparCL 0.75 | 75.0 ± 76.24 | dense | +0.00 ± 12.71 | **+1.00 ± 0.00** |" in page
    assert "| 0.900 | 4.0x | 4.0x | 3,000 | 4,000 |" in page
    assert "![Accuracy over sparsity](sparcl_digits.svg)" in page
    assert results_sparcl._series(found) == {"SparCL": [(0.75, 0.75, pytest.approx(0.7624, abs=1e-4))]}
    picture = results_sparcl._picture("digits", found)
    assert picture is not None
    assert picture.startswith("<svg ")
    assert ">SparCL<" in picture
    assert results_sparcl._picture("grid", found | {"rows": {"dense": found["rows"]["dense"]}}) is None
    for row in found["rows"].values():
        for each in row["runs"]:
            del each["acc"], each["acc_float"], each["task_il"], each["forgetting"]
            each["instructions"] = each["work_counted"]
            each["macs"] = {"macs_forward": 3.0, "macs_input_grad": 1.0, "macs_weight_grad": 1.0, "macs_importance": 0}
    costs = results_sparcl._page({"chip": found | {"exam": 400}})
    assert "2 seeds from 0, 400 test samples a task, written" in costs
    assert "| SparCL 0.75 |  |  |  |  |  |  | 0.900 | 4.0x | 4.0x | 3,000 | 4,000 | 20 | 4.0x |" in costs
    assert "| SparCL 0.75 | 3 | 1 | 1 | 0 | 5 | 4.0 |" in costs


def test_the_page_of_the_reference_pairs_methods_with_dense_derpp_and_the_static_mask() -> None:
    def runs(*acc: float, work_: float = 1.0) -> list[dict[str, object]]:
        same = {"acc_task_il": 0.9, "forgetting": 0.1, "data_used": 1.0, "commit": "abc"}
        return [same | {"acc": a, "flops_paper": work_, "flops_counted": 2 * work_} for a in acc]

    rows = [
        {"method": "der++", "density": 1.0, "runs": runs(0.7, 0.8, work_=20.0)},
        {"method": "static-der++", "density": 0.1, "runs": runs(0.6, 0.7, work_=4.0)},
        {"method": "sparcl-der++", "density": 0.1, "runs": runs(0.68, 0.78, work_=1.0)},
    ]
    text = results_reference.page({"date": "2026-01-02", "first_seed": 0, "rows": rows})
    assert "| sparcl-der++ | 0.9 | 73.0 ± 63.53 | **-2.00 ± 0.00** | **+8.00 ± 0.00** | 90.0 ± 0.00 |" in text
    assert "| 20.0x | 20.0x | 73.42 |" in text
    assert "| static-der++ | 0.9 | 65.0 ± 63.53 | **-10.00 ± 0.00** |  |" in text


def test_every_row_of_the_reference_can_be_run(tmp_path: Path) -> None:
    example = config.load(REPO / "examples" / "digits" / "experiment.toml")
    short = configured(example, {"data": {"samples_per_task": 40}, "network": {"hidden": (16,)}})
    shorter = results_reference.change("sparcl-der++", 0.1)
    found = configured(configured(short, shorter), {"reference": {"epochs": 5}})
    outcome = run_all([results_reference.ReferenceRun(found)], None, tmp_path, Console(quiet=True))[0]
    assert outcome["method"] == "sparcl-der++"
    assert outcome["density"] != 1
    assert 0 < outcome["acc"] <= 1
    for method in (*results_reference.DENSE, *results_reference.SPARSE):
        methods.make(method, found.reference, 0.1)


def test_the_page_of_methods_compares_with_derpp_and_with_sparcl_s_ram() -> None:
    def row(accs: tuple[float, float], ram: int, **more: float) -> dict[str, object]:
        did = {"macs_forward": 300, "macs_input_grad": 0, "macs_weight_grad": 20, "macs_importance": 0}
        same = {"task_il": 0.9, "forgetting": 0.1, "commit": "abc", "presented": 4, "stats": did} | more
        stats = {"instructions": 5000, "link_bytes": 800}
        chip = {"ram_bytes": ram, "flash_bytes": 20_000, "presented": 10, "stats": stats, "replay_bytes": 3000}
        return {"runs": [same | {"acc": acc} for acc in accs], "chip": chip}

    rows = {
        "naive: two updates a step": row((0.2, 0.2), 9000),
        "DER++": row((0.7, 0.8), 9000),
        "SparCL-DER++ 0.75": row((0.6, 0.8), 8000),
        "SparCL-DER++ 0.75, buffer of 15": row((0.6, 0.7), 6000),
        "LightCL": row((0.3, 0.4), 2000, acc_float=0.3, task_il_float=0.88),
        "LightCL 0.75": row((0.3, 0.4), 2001),
        "EsaCL-EWC": row((0.3, 0.4), 2000, pruned=0.9),
        "ER": row((0.5, 0.5), 9000),
        "ER, IDS: half of the samples": row((0.495, 0.495), 9000),
    }
    text = results_methods.page({"date": "2026-01-02", "first_seed": 0, "sets": {"a set": rows}})
    assert (
        "| LightCL | 35.0 ± 63.53 | **-40.00 ± 0.00** | 90.0 ± 0.00 | +0.00 ± 0.00 | 10.0 ± 0.00 "
        "| +5.00 ± 63.53, **+2.00 ± 0.00**" in text
    )
    assert "| 2,000 | 4.0x | 20,000 | 500 | 80 | 80 |  |" in text
    assert "| 500 | 80 | 80 | 90.0 ± 0.00 |" in text
    assert "| LightCL | 4.00x | 3.00x | 2.50x |" in text
    assert "| LightCL 0.75 | 4.00x, **not met** | 3.00x | 2.50x |" in text
    assert "| LightCL, board - twin | **+2.00 ± 0.00** | 1.0: **not met** |" in text
    assert "| ER, IDS: half of the samples, minus ER | **-0.50 ± 0.00** | 1.0: met |" in text


@pytest.mark.parametrize("name", results_methods.SETS)
def test_every_method_can_be_learnt_on_every_data_set(name: str) -> None:
    of = results_methods.SETS[name]
    base, rows = configured(config.load(REPO / "examples" / of.example / "experiment.toml"), of.change), of.table()
    found = {row.name: configured(base, row.change) for row in rows}
    assert len({(each.hash, row.control) for each, row in zip(found.values(), rows, strict=True)}) == len(found)
    assert all(any(row.name.startswith(name) for row in rows) for name in of.own)
    shape = {"base_fashion_mlp": (28, 28), "digits_sparcl": (8, 8), "har_persons": (64, 6)}[of.example]
    for each in found.values():
        plan(network := random_graph_network(prepare.design(each.network, shape, 10), 0), prepare.room(each, network))
        prepare.learn_settings(results_methods.on_chip(each))


def test_the_page_of_latents_is_that_of_its_figures() -> None:
    measured = json.loads((REPO / "docs/results/latent.json").read_text())
    costs = [Cost(**cost) for cost in measured["costs"]]
    page = results_latent.page(measured, costs)
    assert page == (REPO / "docs/results/latent.md").read_text()
    assert "**no**" not in page
    costs[1] = dataclasses.replace(costs[1], learnt=costs[1].learnt ^ 1, step=costs[0].step // 3)
    changed = results_latent.page(measured, costs)
    assert "| at least 3: met | " in changed
    assert changed.count("| **no** |") == 1


def test_the_page_of_ewc_is_that_of_its_figures() -> None:
    measured = json.loads((REPO / "docs/results/ewc.json").read_text())
    page = results_ewc.page(measured)
    assert page == (REPO / "docs/results/ewc.md").read_text()
    for seed in measured["seeds"]["task-il"]:
        seed["ewc"]["task-il"] = seed["ewc float"]["task-il"] + 0.05
    assert "+5.00 ± 0.00 (mean within 1.0: **not met**)" in results_ewc.page(measured)


def test_the_page_of_faults_is_that_of_its_figures() -> None:
    results = REPO / "docs" / "results"
    found = json.loads((results / "faults.json").read_text())
    assert set(found) == set(results_faults.PARTS), "every part was measured"
    assert results_faults.page(found) == (results / "faults.md").read_text()
    assert "| 7 of 100 differ" in results_faults.page(
        found | {"line": found["line"] | {"native": found["line"]["native"] | {"different": 7}}}
    )
