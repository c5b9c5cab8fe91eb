"""The command line: what each command says, and how errors end."""

import importlib.metadata
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from helpers import random_graph_network
from programs import need
from sparcl_mcu import config, network_file, prepare
from sparcl_mcu.cli import checks, plan, ui
from sparcl_mcu.cli.app import app
from sparcl_mcu.cli.ui import TerminalSteps
from sparcl_mcu.design import freeze_until, resnet8
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.record import RunFolder
from sparcl_tools.build import build
from sparcl_tools.elf import sizes
from sparcl_tools.generate import generate
from sparcl_tools.plan import plan as make_plan

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"


def sparcl(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> str:
    """The message of a command that must end with exit code 2, on stderr, without a traceback."""
    result = sparcl(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def own_data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 6)), np.arange(80) % 4
    folder.mkdir(parents=True, exist_ok=True)
    others = {"sensor": np.ones(3), "person_train": y * 1.0}
    np.savez(folder / "my.npz", x_train=x, y_train=y, x_test=x[:16], y_test=y[:16], **others)
    return folder / "my.npz"


def test_version_is_the_installed_one() -> None:
    assert sparcl("--version").stdout == f"sparcl {importlib.metadata.version('sparcl-mcu')}\n"


def test_new_writes_a_file_that_is_read_back_and_never_overwritten(tmp_path: Path) -> None:
    assert sparcl("new", tmp_path / "my data!").exit_code == 0
    file = tmp_path / "my data!" / "experiment.toml"
    made = config.load(file)
    assert made.name == "my-data"
    assert made.data.source == "digits"
    assert "# " in file.read_text()
    assert "exists already" in refused("new", tmp_path / "my data!")


def test_new_takes_the_data_it_finds(tmp_path: Path) -> None:
    own_data(tmp_path / "mine")
    assert sparcl("new", tmp_path / "mine").exit_code == 0
    assert config.load(tmp_path / "mine" / "experiment.toml").data.source == "my.npz"


def test_data_check_prints_shapes_ranges_and_the_classes_of_each_task(tmp_path: Path) -> None:
    result = sparcl("data", "check", own_data(tmp_path))
    assert result.exit_code == 0
    ignored = "Ignored arrays: sensor, person_train (has dtype float64; store integers)"
    for words in ("(80, 6)", "float64", "0 .. 3", "0, 1", "2, 3", ignored, "is fine: 4 classes"):
        assert words in result.stdout
    assert "lower data.classes_per_task" in refused("data", "check", tmp_path / "my.npz", "--classes-per-task", "4")
    assert "does not exist" in refused("data", "check", tmp_path / "gone.npz")


def test_pretrain_and_generate_by_themselves(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text('name = "x"\n[data]\nsource = "digits"\n[network]\nhidden = [16]\n[pretrain]\nepochs = 1\n')
    assert "make one with: sparcl pretrain" in refused("generate", file)
    result = sparcl("pretrain", file)
    assert result.exit_code == 0, result.output
    assert "fc1: dense, 16 x 64, 256 weights (25% of dense, 1x1)" in result.stdout
    assert network_file.load(tmp_path / "network.sparcl").classes == 10
    result = sparcl("generate", tmp_path)
    assert result.exit_code == 0, result.output
    assert "replay buffer" in result.stdout
    assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == ["model.c", "model.h"]
    whole = file.read_text()
    for of, said in (
        ('freeze_until = "fc2"', "learns in fc1, fc2, but [network] freeze_until is 'fc2'"),
        ("density = 0.5", "layer 'fc1' has density 0.25, not 0.5; change the one, or pretrain again"),
        ("density = 1.0", "layer 'fc1' has density 0.25, not 1.0"),
        ('block = "1x4"', "layer 'fc1' has block 1x1, not 1x4"),
        ('pruned = "channels"', "layer 'fc1' has outputs 16, not 4"),
    ):
        file.write_text(whole.replace("[network]\n", f"[network]\n{of}\n"))
        assert said in refused("generate", file)
    for of, said in (
        ("hidden = [12]", "layer 'fc1' has outputs 16, not 12"),
        ("hidden = [16, 8]", "layer 'fc2' has outputs 10, not 8"),
        ('kind = "cnn_s"', "layer 'fc1' (dense) stands where 'conv1' (conv2d) should"),
    ):
        file.write_text(whole.replace("hidden = [16]", of))
        assert said in refused("generate", file)
        assert said in sparcl("run", file, "--network", tmp_path / "network.sparcl", "--out", tmp_path / "runs").stderr
    file.write_text(whole)
    assert "is a folder; name the file in it" in refused("plan", tmp_path)
    network = tmp_path / "network.sparcl"
    assert "--replay-at border has no meaning" in refused("plan", network, "--ewc", "--replay-at", "border")
    network.write_bytes(b"PK broken")
    assert "is not a readable .sparcl file" in refused("generate", tmp_path)


@pytest.mark.parametrize(
    "network",
    [
        'hidden = [32, 16]\nprofile = "erk"',
        'hidden = [32, 16]\nprofile = "global"\nblock = "4x1"',
        'kind = "cnn_s"\npruned = "channels"\ndensity = 0.5\nfreeze_until = "conv2"',
        'kind = "ds_cnn"\nblock = "1x4"',
        'kind = "resnet8"\nblock = "auto"\nfreeze_until = "stage3_conv1"',
    ],
)
def test_what_pretraining_makes_is_as_the_file_says(tmp_path: Path, network: str) -> None:
    """Its own networks are not refused, nor are its settings before there is one, and both are of the same graph."""
    file = tmp_path / "experiment.toml"
    file.write_text(
        f'name = "x"\n[data]\nsource = "digits"\nsamples_per_task = 200\n[network]\n{network}\n[pretrain]\nepochs = 1\n'
        "fine_tune_epochs = 0\n[grda]\nc = 0.01\n"
    )
    wanted = config.load(file)
    made = prepare.scenario(wanted, None)
    prepare.check_settings(wanted, made)
    net = prepare.pretrained(wanted, made, lambda done, total: None)
    prepare.check_network(wanted, net, made.data.sample_shape)
    prepare.check_network(wanted, net)
    assert prepare.pruned_graph(wanted, made.data.sample_shape, made.data.classes) == net.graph


def test_paths_that_are_something_else_end_with_two(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_text("config.resolved.toml", 'name = "x"\n[data]\nsource = "digits"\n')
    (folder.path / "events.jsonl").mkdir()
    said = refused("run", "--resume", folder.path)
    assert f"{folder.path / 'events.jsonl'}: Is a directory; a folder stands where a file should" in said
    assert "choose a shorter name" in refused("report", tmp_path / ("x" * 300))


def test_names_between_colons_are_printed_as_they_are() -> None:
    assert "--boards native:x:: give NAME:COUNT" in refused("run", EXAMPLE, "--boards", "native:x:")


def test_seeds_that_do_not_fit_are_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text('name = "x"\nseed = 4294967295\n[data]\nsource = "digits"\n')
    said = refused("run", file, "--seeds", "2", "--out", tmp_path / "runs")
    assert "ends with 4294967296; seeds fit 32 bits: take at most --seeds 1, or lower seed" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "plan", ["[]", "{}", '{"seeds": 2}', '{"seeds": 0, "boards": []}', '{"seeds": 2, "boards": [1]}']
)
def test_a_damaged_plan_of_seeds_is_named(tmp_path: Path, plan: str) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_text("experiment.toml", 'name = "x"\n[data]\nsource = "digits"\n')
    folder.write_text("seeds.json", plan)
    assert "seeds.json cannot be read (" in (said := refused("run", "--resume", folder.path))
    assert "start the seeds again" in said


def test_outputs_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "n.sparcl"
    assert f"cannot write {gone}" in refused("pretrain", EXAMPLE, "--output", gone)
    (tmp_path / "file").write_text("")
    assert "choose another folder" in refused("generate", EXAMPLE, "--output", tmp_path / "file")


def test_mistakes_in_the_experiment_file_end_with_two(tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text((EXAMPLE / "experiment.toml").read_text().replace("epochs = 3 ", "epochz = 3 "))
    assert "did you mean 'epochs'?" in refused("run", file, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_what_an_experiment_cannot_have_is_refused_by_name(tmp_path: Path) -> None:
    """Networks that do not suit their data, and data that cannot be learnt: exit code 2 and the numbers."""
    file = tmp_path / "experiment.toml"

    def pretrain(data: str = "", network: str = "", pretrain: str = "epochs = 1") -> str:
        file.write_text(
            f'name = "x"\n[data]\nsource = "digits"\n{data}\n[network]\n{network}\n[pretrain]\n{pretrain}\n'
        )
        message = refused("pretrain", file)
        assert not (tmp_path / "network.sparcl").exists()
        return message

    assert "key 'hidden' in [network] is for 'mlp' and 'cnn_s'" in pretrain(network='kind = "cnn_1d"\nhidden = [3]')
    message = pretrain(network='kind = "mlp"\nhidden = [6]\nblock = "4x1"')
    assert "kind 'mlp': layer 'fc1': blocks of 4x1 do not divide a layer of 6 outputs x 64 inputs" in message
    message = pretrain(network='kind = "cnn_s"\nfreeze_until = "conv4"')
    assert "no layer 'conv4' to freeze until; the layers are conv1, conv2, conv3, pool, head" in message
    assert "[pretrain] tasks is 5, but there are 5 tasks" in pretrain(pretrain="tasks = 5")
    assert "digits has no class 'ten'; its 10 classes are '0', '1'" in pretrain('tasks = [["ten"], [1]]')
    assert "class '3' stands 0 times" in pretrain("tasks = [[0, 1, 2], [4, 5, 6, 7, 8, 9]]")
    assert "no array speaker_train" in pretrain('validate_by = "speaker"')
    own_data(tmp_path)
    file.write_text('name = "x"\n[data]\nsource = "my.npz"\n[network]\nkind = "lenet"\n')
    assert "kind 'lenet': samples of shape (6,) are no images" in refused("pretrain", file)
    with np.load(tmp_path / "my.npz") as arrays:
        changed = dict(arrays)
    changed["x_train"][5, 2] = np.nan
    np.savez(tmp_path / "my.npz", **changed)
    assert "x_train holds 1 NaN or infinite values" in refused("pretrain", file)


def test_plan_prints_what_a_network_needs_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    file, picture = tmp_path / "n.sparcl", tmp_path / "n.svg"
    net = random_graph_network(resnet8((32, 32, 3), 10, density=0.25), 0)
    network_file.save(net, file)
    result = sparcl("plan", file, "--board", "nucleo_h743zi", "--replay", "40", "--picture", picture)
    assert result.exit_code == 0, result.output
    memory = make_plan(net, Room(replay=40))
    for b in memory.arena:
        row = rf"{b.what} +{b.offset:,} +{b.bytes:,} +{memory.steps[b.first]} +{memory.steps[b.last]}"
        assert re.search(row, result.stdout), b
    for field in memory.state:
        assert re.search(rf"{field.what} +{field.bytes:,}", result.stdout), field
    step = memory.steps.index(memory.peak)
    assert f"needed in step “{memory.peak}”, {memory.alive(step):,} bytes: " in result.stdout
    needed = int(re.search(r"RAM needed: ([\d,]+) bytes", result.stdout)[1].replace(",", ""))  # type: ignore[index]
    assert f"{524288 - needed:,} of 524,288 bytes of RAM are left" in result.stdout
    assert picture.read_text().startswith("<svg xmlns=")
    assert "stage1_conv2 input gradient" in picture.read_text()
    gathered = sparcl("plan", file, "--replay", "40", "--batch", "8").stdout
    assert int(re.search(r"RAM needed: ([\d,]+) bytes", gathered)[1].replace(",", "")) > needed + 2 * net.slots  # type: ignore[index]

    result = sparcl("plan", file, "--board", "nucleo_f446re", "--replay", "40")
    assert result.exit_code == 2
    assert f"it needs {needed:,} bytes of RAM, 131,072 are available (largest: arena (scratch): " in result.stderr
    assert "replay buffer, int8 inputs: 122,880" in result.stderr
    assert "error" not in sparcl("plan", file, "--replay", "60000").stderr  # this computer sets no limit
    assert "there is no board 'nucleo'" in refused("plan", file, "--board", "nucleo")
    assert "does not exist" in refused("plan", tmp_path / "gone.sparcl")


def test_plan_tells_a_buffer_of_inputs_from_one_of_latents(tmp_path: Path) -> None:
    def said(freeze: str | None, *more: str) -> str:
        graph = resnet8((32, 32, 3), 10, density=0.25)
        network_file.save(random_graph_network(freeze_until(graph, freeze) if freeze else graph, 0), tmp_path / "n")
        result = sparcl("plan", tmp_path / "n", "--replay", "40", *more)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "latent" not in said(None)
    both = "A replay buffer of 40 samples: 122,880 bytes of inputs (3,072 each) or "
    last_stage = said("stage3_conv1", "--replay-at", "border")
    assert both + "327,680 bytes of activations of stage2 (8,192 each); a latent is larger than an input" in last_stage
    assert re.search(r"replay buffer, int8 latents +327,680", last_stage)
    pooled = said("head")
    assert both + "2,560 bytes of activations of pool (64 each); a latent takes 2% of an input" in pooled
    assert re.search(r"replay buffer, int8 inputs +122,880", pooled)
    assert "Replay of inputs only: the frozen layers reach the others through stage2 and" in said("stage3_conv2")


def test_plan_tells_what_ewc_takes() -> None:
    said = sparcl("plan", EXAMPLE / "network.sparcl", "--ewc").stdout
    net = network_file.load(EXAMPLE / "network.sparcl")
    for name in ("fc1", "fc2", "fc3"):
        for what in ("anchors, int16", "held by EWC, uint16", "to be held, uint16"):
            assert re.search(rf"{name} {what} +{2 * net.weights[name].slots:,}", said), (name, what)
    assert "replay buffer" not in said


def test_plan_tells_what_lightcl_takes() -> None:
    said = sparcl("plan", EXAMPLE / "network.sparcl", "--lightcl", "--replay", "15").stdout
    net = network_file.load(EXAMPLE / "network.sparcl")
    for name in ("fc1", "fc2"):
        channels = net.graph.shapes[name][2]
        assert re.search(rf"{name} anchors, int8 +{15 * (channels * 19661 + 32768 >> 16):,}", said), name
        assert re.search(rf"{name} activity, uint32 +{4 * channels:,}", said), name
    assert re.search(rf"anchors, int8 inputs +{15 * net.inputs:,}", said)
    assert "fc3 anchors" not in said
    assert "replay buffer" not in said
    assert "leave one of --ewc and --lightcl out" in refused("plan", EXAMPLE / "network.sparcl", "--lightcl", "--ewc")


def test_plan_tells_what_grda_takes() -> None:
    said = sparcl("plan", EXAMPLE / "network.sparcl", "--grda", "--ewc").stdout
    net = network_file.load(EXAMPLE / "network.sparcl")
    for name in ("fc1", "fc2", "fc3"):
        assert re.search(rf"{name} weights in use, int8 +{net.weights[name].slots:,}", said), name
    whole = sum(weights.slots for weights in net.weights.values())
    assert f"gRDA: {whole:,} weights are drawn towards 0 after each pass that learns" in said
    assert "Sharpness" not in said
    sharp = sparcl("plan", EXAMPLE / "network.sparcl", "--grda", "--ewc", "--rho", "9").stdout
    whole = net.macs_forward + net.macs_input_grad + net.macs_weight_grad
    assert f"twice, {2 * whole:,} multiply-accumulates in the place of {whole:,}" in sharp
    assert "needs room for both" in refused("plan", EXAMPLE / "network.sparcl", "--ewc", "--rho", "9")
    assert "gRDA" not in sparcl("plan", EXAMPLE / "network.sparcl").stdout


def test_plan_tells_what_ids_saves_and_costs() -> None:
    said = sparcl("plan", EXAMPLE / "network.sparcl", "--ids", "0.25", "--ewc").stdout
    net = network_file.load(EXAMPLE / "network.sparcl")
    assert re.search(r"IDS: what is learnt, int32 +4\b", said)
    backward = net.macs_input_grad + net.macs_weight_grad
    assert f"IDS: 75.0% of the new samples are not learnt, each saves {backward:,} multiply-accumulates" in said
    assert f"costs {net.graph.fan_in(net.graph.nodes[-1]) + net.classes} more and a softmax" in said
    assert "IDS:" not in sparcl("plan", EXAMPLE / "network.sparcl").stdout


@pytest.mark.emulator
def test_planned_ram_is_that_of_the_program(tmp_path: Path) -> None:
    """State, arena and stack exactly; the session as planned but for a port's few variables."""
    need("arm-none-eabi-gcc")
    net = network_file.load(EXAMPLE / "network.sparcl")
    memory = generate(net, tmp_path, room=Room(replay=100), settings=LearnSettings())
    program = sizes(build("qemu_m4", tmp_path, build_dir=tmp_path / "build"))
    said = sparcl("plan", EXAMPLE / "network.sparcl", "--board", "qemu_m4", "--replay", "100").stdout
    needed = int(re.search(r"RAM needed: ([\d,]+) bytes", said)[1].replace(",", ""))  # type: ignore[index]
    assert program.ram_bytes <= needed <= program.ram_bytes + 32
    assert memory.constant_bytes < program.flash_bytes < memory.constant_bytes + plan.CODE_BYTES


def test_report_needs_a_finished_run(tmp_path: Path) -> None:
    assert "give the folder of a finished run" in refused("report", tmp_path)
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path, "x") as folder:
        raise KeyboardInterrupt
    assert "the run is 'interrupted'" in refused("report", folder.path)


def test_doctor_gives_a_command_for_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    result = sparcl("doctor")
    assert result.exit_code == 0, result.output
    monkeypatch.setenv("PATH", "")
    result = sparcl("doctor")
    assert result.exit_code == 1
    for check in checks.CHECKS[3:]:
        assert re.search(rf"{re.escape(check.name)}: missing; needed for {re.escape(check.needed_for)}", result.stdout)
        assert check.remedy in result.stdout


def test_ctrl_c_while_it_starts_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-c", "from sparcl_mcu.cli.main import main; main()", "boards"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_class_names_are_text_not_markup(tmp_path: Path) -> None:
    arrays = dict(np.load(own_data(tmp_path)))
    np.savez(tmp_path / "my.npz", **arrays, classes=np.array(["[/x]", "[red]b", "c", "d"]))
    result = sparcl("data", "check", tmp_path / "my.npz")
    assert result.exit_code == 0, result.exception
    assert "[/x], [red]b" in result.stdout
    printed = io.StringIO()
    with TerminalSteps(Console(file=printed, force_terminal=True, width=80)).step("Pretrain ([/x], [red]b)"):
        pass
    assert "Pretrain ([/x], [red]b)" in printed.getvalue()


def test_boards_shows_whole_names_on_a_narrow_terminal() -> None:
    assert "esp32-c3-devkitm-1" in sparcl("boards").stdout


def test_long_steps_say_how_much_is_left_where_no_bar_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "PLAIN_SECONDS", 60.0)
    clock = iter([0.0, 30.0, 120.0, 130.0, 480.0, 480.0])  # start, four reports, end
    monkeypatch.setattr(ui.time, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO())
    with TerminalSteps(console).step("Teach [4] boards") as progress:
        for done in (10, 25, 26, 100):
            progress(done, 100)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said[0] == "  Teach [4] boards: 25%, 6 min left"
    assert said[1] == "  Teach [4] boards: 100%, 0 min left"
    assert len(said) == 3
