"""The experiment file: what is read, and what is refused with which words."""

import dataclasses
import re
from pathlib import Path

import pytest

from sparcl_mcu import config

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits" / "experiment.toml"
MINIMAL = 'name = "x"\n[data]\nsource = "digits"\n'


def refused(text: str) -> str:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, Path("some/experiment.toml"))
    message = str(caught.value)
    assert message.startswith("some/experiment.toml")
    return message


def test_example_shows_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    shown = config.parse(text, Path("experiment.toml"))
    default = config.parse(MINIMAL, Path("experiment.toml"))
    assert default.learn.lr_exponent == -7  # the one value the example says it departs from
    assert shown == dataclasses.replace(
        default, name="digits", learn=dataclasses.replace(default.learn, lr_exponent=shown.learn.lr_exponent)
    )
    for section in ("data", "network", "pretrain", "learn", "board"):
        for field in dataclasses.fields(getattr(shown, section)):
            assert re.search(rf"^(# )?{field.name} = ", text, re.M), f"{section}.{field.name} is not in the example"


def test_resolved_file_reads_back(tmp_path: Path) -> None:
    text = MINIMAL.replace("digits", "my data/ü.npz") + 'samples_per_task = 7\n[board]\nport = "COM3"\n'
    first = config.parse(text, tmp_path / "experiment.toml")
    again = config.parse(first.to_toml(), tmp_path / "elsewhere" / "config.resolved.toml")
    assert Path(again.data.source) == tmp_path / "my data" / "ü.npz"
    assert again.data.samples_per_task == 7
    assert again.hash == first.hash
    moved = dataclasses.replace(
        again, folder=first.folder, data=dataclasses.replace(again.data, source="my data/ü.npz")
    )
    assert moved == first


def test_tasks_and_kinds_read_back(tmp_path: Path) -> None:
    text = MINIMAL + 'tasks = [["down", 1], [0, "_x_"]]\n[network]\nkind = "ds_cnn"\nfreeze_until = "pointwise3"\n'
    first = config.parse(text, tmp_path / "experiment.toml")
    assert first.data.tasks == (("down", 1), (0, "_x_"))
    assert first.data.classes_per_task is first.network.hidden is None
    assert config.parse(first.to_toml(), tmp_path / "experiment.toml") == first


def test_hash_follows_content_and_not_places() -> None:
    base = config.parse(MINIMAL, Path("a.toml"))
    assert base.hash == config.parse(MINIMAL + '[board]\nport = "COM3"\ncommit_every = 9\n', Path("b/c.toml")).hash
    assert base.hash == config.parse(MINIMAL + "[learn]\nepochs = 3\n", Path("a.toml")).hash
    assert base.hash == config.parse(MINIMAL + '[learn]\nreplay_at = "input"\n', Path("a.toml")).hash
    assert base.hash != config.parse(MINIMAL + '[learn]\nreplay_at = "border"\n', Path("a.toml")).hash
    assert base.hash != config.parse(MINIMAL + "[learn]\nepochs = 4\n", Path("a.toml")).hash
    assert base.hash != config.parse("seed = 1\n" + MINIMAL, Path("a.toml")).hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "[learn]\nepoch = 3\n", "'epoch' in [learn]; did you mean 'epochs'?"),
        ("sed = 1\n" + MINIMAL, "'sed'; did you mean 'seed'?"),
        ('folder = "x"\n' + MINIMAL, "unknown key 'folder'"),
        (MINIMAL + "[lern]\nepochs = 3\n", "did you mean 'learn'?"),
        ('name = "x"\n', "missing key 'data'"),
        ('name = "x"\n[data]\n', "missing key 'source' in [data]"),
        (MINIMAL + "[learn]\nepochs = 0\n", "'epochs' in [learn] is 0; it must lie in 1 .. 1000"),
        (MINIMAL + "[learn]\nepochs = 3.0\n", "must be a whole number"),
        (MINIMAL + "[learn]\nepochs = true\n", "must be a whole number"),
        (MINIMAL + "[learn]\nbatch = 256\n", "'batch' in [learn] is 256; it must lie in 1 .. 255"),
        (MINIMAL + "[learn]\nlr_mantissa = 2\n", "one of 1, 3"),
        (MINIMAL + "[network]\nhidden = [64, 0]\n", "'hidden' in [network] is 0"),
        (MINIMAL + "[network]\nhidden = []\n", "give 1 to 8"),
        (MINIMAL + "[network]\nhidden = 64\n", "a list of whole numbers"),
        (MINIMAL + "[network]\nhidden = [6.5]\n", "must be a whole number"),
        (MINIMAL + '[network]\nkind = "vgg"\n', "'mlp', 'lenet', 'cnn_s', 'ds_cnn', 'resnet8', 'cnn_1d'"),
        (
            MINIMAL + '[network]\nkind = "lenet"\nhidden = [64]\n',
            "'hidden' in [network] is for 'mlp' and 'cnn_s'; 'lenet'",
        ),
        (MINIMAL + "tasks = [[0, 1], [2]]\nclasses_per_task = 2\n", "both tasks and classes_per_task"),
        (MINIMAL + "tasks = [[0, 1]]\n", "at least two tasks"),
        (MINIMAL.replace("digits", r"a\u0000.npz"), "source holds a NUL character"),
        (MINIMAL + 'domains = ""\nrecordings = ""\n', "[data] domains, recordings and validate_by name arrays"),
        (MINIMAL + 'validate_by = ""\n', "none may be empty"),
        (MINIMAL + 'domains = "subject"\n', "domains and recordings belong together"),
        (MINIMAL + 'domains = "a"\nrecordings = "b"\ntasks = [[0], [1]]\n', "leave out tasks, classes_per_task"),
        (MINIMAL + "tasks = [[0, 1], []]\n", "at least one class each"),
        (MINIMAL + "tasks = [0, 1]\n", "'tasks' in [data] is 0; it must be a list"),
        (MINIMAL + "tasks = [[0, 1.5], [2]]\n", "is 1.5; it must be a text in quotes or a whole number"),
        (MINIMAL + "[pretrain]\ntasks = 0\n", "'tasks' in [pretrain] is 0"),
        (MINIMAL + "[network]\ndensity = nan\n", "must lie in"),
        (MINIMAL + '[network]\nblock = "2x2"\n', "'1x1', '1x4', '4x1'"),
        (MINIMAL.replace('"x"', '"../x"'), "letters, digits"),
        (MINIMAL + "learn = 3\n", "unknown key 'learn' in [data]"),
        ("learn = 3\n" + MINIMAL, "learn must be a section"),
        ("name = \n", "not valid TOML"),
    ],
)
def test_bad_files_are_refused_by_name(text: str, words: str) -> None:
    assert words in refused(text)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="sparcl new"):
        config.load(tmp_path / "experiment.toml")
