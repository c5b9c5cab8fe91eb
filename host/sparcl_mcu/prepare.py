"""From an experiment file to what every learner starts from: tasks and a quantised network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from . import quantize, thin
from .block_choice import AUTO, Choice, choose, with_blocks
from .boards.catalogue import find
from .config import RESNET18, Config, ConfigError, DataConfig, LightclConfig, NetworkConfig
from .data import DataSet, Task, class_incremental, consecutive, load, named, pooled, recorded_incremental
from .design import NETWORKS, SIZED, freeze_until
from .errors import SparclError
from .experiment import Progress
from .graph import Graph, GraphError, Node, size
from .learners import grda
from .learners.base import Importance, LearnerError, LearnSettings, Replay, Room, TaskInfo
from .learners.masking import share
from .learners.masks import Masks
from .learners.step import schedule_of
from .network import Network
from .pretrain import FloatNetwork, FloatWeights, PretrainError, PretrainSettings, pretrain
from .profiles import erk
from .sparsity import SINGLE, parse_block, top_blocks


class PrepareError(ConfigError):
    """The network an experiment asks for does not suit its data."""


@dataclass(frozen=True)
class Scenario:
    """An experiment's data, whole and cut.

    tasks: what the board learns, the pretrained classes first of all: its replay buffer must hold them. base: the tasks
    the host pretrains on, with all their training samples. shipped: the first so many tasks are only remembered.
    """

    data: DataSet
    tasks: tuple[Task, ...]
    base: tuple[Task, ...]
    shipped: int = 0

    @property
    def base_samples(self) -> int:
        return sum(len(task.y_train) for task in self.base)

    @property
    def base_names(self) -> str:
        return ", ".join(self.data.class_names[c] for task in self.base for c in task.classes)


def scenario(config: Config, data_dir: Path | None) -> Scenario:
    """Load and cut the experiment's data. Raises DataError or ConfigError."""
    wanted = config.data
    data = load(wanted.source, relative_to=config.folder, data_dir=data_dir)
    data = data if wanted.pool is None else pooled(data, wanted.pool)
    count = config.pretrain.tasks
    tasks = _tasks(data, wanted, wanted.samples_per_task)
    if count >= len(tasks):
        raise ConfigError(
            f"[pretrain] tasks is {count}, but there are {len(tasks)} tasks; leave the board at least one"
        )
    base = tasks[:count] if wanted.samples_per_task is None else _tasks(data, wanted, None)[:count]
    return Scenario(data, tasks, base, count if config.pretrain.shipped else 0)


def _tasks(data: DataSet, wanted: DataConfig, samples: int | None) -> tuple[Task, ...]:
    if wanted.domains and wanted.recordings:
        return recorded_incremental(data, wanted.domains, wanted.recordings, samples)
    classes = named(data, wanted.tasks) if wanted.tasks else consecutive(data, wanted.classes_per_task or 2)
    return class_incremental(data, classes, samples, wanted.validate_by)


def design(wanted: NetworkConfig, shape: tuple[int, ...], classes: int, core: str = "host") -> Graph:
    """The architecture an experiment file asks for, for samples of `shape`. core: of the board, for which block shapes
    are chosen if the file leaves that to us. Raises PrepareError naming the kind."""
    block = SINGLE if wanted.block == AUTO else parse_block(wanted.block)
    if wanted.kind == RESNET18:
        raise PrepareError(
            f"[network] kind {RESNET18!r} is for `sparcl reference`: no board holds its 11 million weights"
        )
    try:
        if wanted.hidden is None:
            graph = NETWORKS[wanted.kind](shape, classes, density=wanted.density, block=block)
        else:
            graph = SIZED[wanted.kind](shape, classes, hidden=wanted.hidden, density=wanted.density, block=block)
        graph = erk(graph) if wanted.profile == "erk" else graph
        graph = freeze_until(graph, wanted.freeze_until) if wanted.freeze_until else graph
        return with_blocks(graph, choose(graph, core)) if wanted.block == AUTO else graph
    except SparclError as error:
        raise PrepareError(f"[network] kind {wanted.kind!r}: {error}") from None


def pruned_graph(config: Config, shape: tuple[int, ...], classes: int) -> Graph:
    """What pretraining leaves of `design`: the same, or its layers with fewer channels. Raises PrepareError."""
    graph = design(config.network, shape, classes, find(config.board.name).core)
    if config.network.pruned != "channels":
        return graph
    sizes = {node.name: (graph.weight_rows(node), graph.fan_in(node)) for node in graph.nodes if node.weighted}
    try:  # which channels stay changes no shape
        return thin.graph_of(graph, thin.channels(graph, {name: np.zeros(of) for name, of in sizes.items()}))
    except thin.ThinError as error:
        raise PrepareError(str(error)) from None


def check_network(config: Config, network: Network, shape: tuple[int, ...] | None = None) -> None:
    """Raises PrepareError for a network from elsewhere that is not as an experiment file says, naming the first
    difference: settings of learning follow from its layers and their densities. shape: of a sample, where data are
    known."""
    nodes, remedy = network.graph.nodes, "change the one, or pretrain again with: sparcl pretrain"
    free_to_choose = config.network.block == AUTO  # for the board it was pretrained for, which may be another
    plain = replace(config, network=replace(config.network, block=str(SINGLE))) if free_to_choose else config
    asked = pruned_graph(plain, shape or network.graph.input_shape, network.classes)
    for has, should in zip_longest(nodes, asked.nodes):
        if difference := _difference(has, should, blocks=not free_to_choose):
            raise PrepareError(f"network {network.name!r} is not as [network] says: {difference}; {remedy}")
    if network.graph.input_shape != asked.input_shape:
        raise PrepareError(
            f"network {network.name!r} takes samples of shape {network.graph.input_shape}, but [network] and the data "
            f"make it {asked.input_shape}; {remedy}"
        )
    learns = [node.name for node in nodes if not node.frozen]
    if learns != [node.name for node in asked.nodes if not node.frozen]:
        raise PrepareError(
            f"network {network.name!r} learns in {', '.join(learns)}, but [network] freeze_until is "
            f"{config.network.freeze_until!r}; {remedy}"
        )


def _difference(has: Node | None, should: Node | None, blocks: bool) -> str:
    """What tells two layers apart; empty if nothing does."""
    if has is None or should is None:
        return f"it lacks layer {should.name!r}" if should else f"layer {has.name!r} is one too many"  # type: ignore[union-attr]
    if (has.name, has.op) != (should.name, should.op):
        return f"layer {has.name!r} ({has.op}) stands where {should.name!r} ({should.op}) should"
    for what in ("sources", "outputs", "window", "relu", "density", *(["block"] if blocks else [])):
        a, b = getattr(has, what), getattr(should, what)
        if abs(a - b) > 1e-9 if what == "density" else a != b:  # ERK's densities are computed
            return f"layer {has.name!r} has {what} {a}, not {b}"
    return ""


def block_choices(config: Config, made: Scenario) -> tuple[Choice, ...]:
    """Why `design` gave layers the block shapes it did; empty where the experiment file names one."""
    if config.network.block != AUTO:
        return ()
    core = find(config.board.name).core
    return choose(design(config.network, made.data.sample_shape, made.data.classes, core), core)


def pretrained(config: Config, made: Scenario, on_progress: Progress, dense: Path | None = None) -> Network:
    """Design, pretrain on the base tasks' training samples and quantise; the same seed gives the same network.
    dense: as in `pretrain.pretrain`.

    Nothing of later tasks is looked at, input scaling included: the device is shipped before they exist.
    """
    core = find(config.board.name).core
    graph = design(config.network, made.data.sample_shape, made.data.classes, core)
    samples = np.concatenate([task.x_train for task in made.base])
    labels = np.concatenate([task.y_train for task in made.base])
    scaling = quantize.input_scaling(samples, config.data.normalise)  # type: ignore[arg-type]
    x = samples.reshape(len(samples), -1).astype(np.float32)
    steps = np.rint((x - scaling.offset) * scaling.gain * np.float32(2.0**-scaling.exponent))
    x = (np.clip(steps, -127, 127) * 2.0**scaling.exponent).astype(np.float32)
    wanted = config.pretrain
    settings = PretrainSettings(
        epochs=wanted.epochs,
        fine_tune_epochs=wanted.fine_tune_epochs,
        learning_rate=wanted.learning_rate,
        batch=wanted.batch,
        global_magnitude=config.network.profile == "global",
        gradual=wanted.prune == "gradual",
        random_masks=config.network.mask == "random",
        channels=config.network.pruned == "channels",
    )
    try:
        network = pretrain(
            graph, x, labels, settings, config.seed, lambda done, total, _: on_progress(done, total), dense
        )
    except PretrainError as error:
        raise PrepareError(str(error)) from None
    return quantize.quantise(network, scaling, x, config.name)


LARGE = np.float32(grda.MOST * 2.0**grda.EXPONENT)  # no threshold of gRDA reaches it
SLICES = 12  # of the largest sparse layer: its gradients are measured in so many parts, which bounds their memory
_REPLAY = {
    "er": Replay.ER,
    "der": Replay.DER,
    "der++": Replay.DERPP,
    "ewc": Replay.EWC,
    "lightcl": Replay.LIGHTCL,
}


def learn_settings(config: Config) -> LearnSettings:
    """How the learners of this experiment learn. Raises ConfigError naming the setting and the numbers."""
    learn, q, s = config.learn, config.dgm.sparsity, 1 - config.network.density
    if 0 < q <= s:
        raise ConfigError(
            f"[dgm] sparsity q is {q}, but [network] density leaves s = {s:g} of the weights out already: with q <= s "
            "every stored weight would learn; raise q above s, or leave [dgm] out"
        )
    moving = config.tdm.importance != "off"
    if moving and config.tdm.intra >= config.network.density:
        raise ConfigError(
            f"[tdm] intra is {config.tdm.intra}, but [network] density leaves only {config.network.density} of the "
            "weights: an event would remove every one; lower intra"
        )
    if moving and 0 < s < config.tdm.inter:
        raise ConfigError(
            f"[tdm] inter is {config.tdm.inter}, but only {s:g} of the weights are masked: a new task cannot be lent "
            "so many more; lower inter or [network] density"
        )
    return LearnSettings(
        seed=config.seed,
        lr_mantissa=learn.lr_mantissa,
        lr_exponent=learn.lr_exponent,
        replay=_REPLAY[learn.method],
        alpha_shift=learn.alpha_shift,
        beta_shift=learn.beta_shift,
        anneal=learn.anneal,
        single_head_loss=learn.single_head_loss,
        margin=learn.margin_skip,
        importance=Importance[config.tdm.importance.upper()],
        tdm_intra=fraction(config.tdm.intra) if moving else 0,
        tdm_inter=fraction(config.tdm.inter) if moving else 0,
        dgm_share=fraction((1 - q) / config.network.density) if q else 0,
        ddr_fraction=fraction(config.ddr.fraction),
        ddr_within_task=config.ddr.within_task,
    )


def without_replay(settings: LearnSettings) -> LearnSettings:
    """The control: two updates a step as with ER, masks and data as they are, no replay. IDS and gRDA, which
    a network is generated with, stay."""
    return replace(
        settings,
        replay=Replay.REPEAT,
        importance=Importance.OFF,
        tdm_intra=0,
        tdm_inter=0,
        dgm_share=0,
        ddr_fraction=0,
        margin=0,
    )


def room(config: Config, network: Network) -> Room:
    """The memory this experiment's firmware needs beside its weights."""
    settings = learn_settings(config)
    moving = settings.importance is not Importance.OFF
    sparse = [node for node in network.trainable() if not network.weights[node.name].dense]
    if (moving or settings.dgm_share) and not sparse:
        raise ConfigError("[tdm] and [dgm] act on sparse layers, but every layer of this network is dense or frozen")
    _check_shares(network, sparse, settings)
    counted = config.ddr.samples or config.data.samples_per_task or 0
    if settings.ddr_fraction and not 0 < counted < 1 << 16:
        raise ConfigError(
            f"[ddr] needs to know how many samples a task has at most, 1 .. 65535, and [ddr] samples or [data] "
            f"samples_per_task says {counted or 'nothing'}; set [ddr] samples"
        )
    latent, ewc = config.learn.replay_at == "border", settings.replay is Replay.EWC
    if latent and ewc:
        raise ConfigError(
            '[learn] method = "ewc" replays nothing, so replay_at = "border" has no meaning; leave it out'
        )
    if latent:
        try:
            _ = network.graph.border
        except GraphError as error:
            raise ConfigError(f'[learn] replay_at = "border": {error}') from None
    rate = learn_rate(settings)
    first, mu = grda.start(config.grda.c, rate, config.grda.mu), round(config.grda.mu * 2**grda.MU_BITS)
    if config.grda.c and not 0 < first <= grda.MOST:
        raise ConfigError(
            f"[grda] c = {config.grda.c:g} at a learning rate of {rate:g} draws weights by {first} / 2**24 after one "
            f"sample; 1 .. {grda.MOST} are possible: choose a {'larger' if first == 0 else 'smaller'} c"
        )
    largest = max((network.weights[node.name].largest for node in grda.pruned(network)), default=0.0)
    if config.grda.c and first * 2.0**grda.EXPONENT >= largest:
        raise ConfigError(
            f"[grda] c = {config.grda.c:g} at a learning rate of {rate:g} draws weights by "
            f"{first * 2.0**grda.EXPONENT:.3g} after one sample, but the largest is {largest:.3g}: all would be 0; "
            "choose a smaller c"
        )
    if config.grda.rho and not (first and ewc):
        raise ConfigError(
            f"[grda] rho = {config.grda.rho} moves the weights in use of gRDA by gradients that EWC gathers; set "
            '[grda] c and [learn] method = "ewc", or leave rho out'
        )
    if config.ids.share and settings.margin:
        raise ConfigError(
            "[ids] share and [learn] margin_skip both decide which new samples are learnt, and are counted as one; "
            "leave one of them out"
        )
    light = settings.replay is Replay.LIGHTCL
    if light and len(network.trainable()) < 2:
        raise ConfigError(
            '[learn] method = "lightcl" holds the outputs of layers that learn below the last one, but only the last '
            "one learns; freeze until an earlier layer ([network] freeze_until)"
        )
    keep, most = light_shares(config.lightcl) if light else (0, 0)
    slots = 0
    for node in sparse if settings.sweeps else []:
        weights, per_block = network.weights[node.name], node.block.rows * node.block.cols
        more = share(weights.mask.size // per_block, settings.tdm_inter)
        slots = max(slots, min(weights.slots + more * per_block, weights.mask.size))
    return Room(
        replay=0 if ewc else config.learn.replay,
        batch=config.learn.batch,
        logits=settings.replay in (Replay.DER, Replay.DERPP, Replay.LIGHTCL),
        tdm=moving,
        inter=settings.tdm_inter,
        dgm=settings.dgm_share > 0,
        slice=4 * -(-slots // (4 * SLICES)),
        ddr=counted if settings.ddr_fraction else 0,
        latent=latent,
        ewc=ewc,
        light_keep=keep,
        light_most=most,
        ids=fraction(config.ids.share),
        prune=first,
        prune_mu=mu if first else 0,
        rho=config.grda.rho,
    )


def _check_shares(network: Network, sparse: list[Node], settings: LearnSettings) -> None:
    """Raises ConfigError where shares of a layer's blocks come to all of them, or to none in any layer."""
    moved = left_out = 0
    for node in sparse:
        weights, per_block = network.weights[node.name], node.block.rows * node.block.cols
        blocks, stored = weights.mask.size // per_block, weights.slots // per_block
        intra = share(blocks, settings.tdm_intra)
        if intra >= stored:
            raise ConfigError(
                f"[tdm] intra moves {intra} of {node.name}'s {blocks} blocks at an event, and only {stored} are "
                "stored: all of them would go; lower intra"
            )
        moved += intra + share(blocks, settings.tdm_inter)
        left_out += stored - max(1, share(stored, settings.dgm_share))
    if settings.importance is not Importance.OFF and not moved:
        raise ConfigError(
            "[tdm] intra and inter come to no block of any layer, so that masks would be measured and never move; "
            'raise them, or set [tdm] importance = "off"'
        )
    if settings.dgm_share and not left_out:
        raise ConfigError(
            "[dgm] sparsity leaves no block of any layer out, so that every stored weight would learn; raise it, or "
            "leave [dgm] out"
        )


def check_tasks(config: Config, network: Network, made: Scenario) -> None:
    """Raises ConfigError naming the first task that the settings cannot follow, before any board is asked."""
    own, settings = room(config, network), learn_settings(config)
    windows = Masks(network, own, settings).windows
    for number, task in enumerate(made.tasks[made.shipped :], made.shipped):
        try:
            schedule_of(TaskInfo(task.classes, len(task.y_train), config.learn.epochs), settings, own, windows)
        except LearnerError as error:
            raise ConfigError(f"task {number} ({len(task.y_train)} samples): {error}") from None


def check_settings(config: Config, made: Scenario) -> None:
    """What `check_tasks` can find before anything is trained, which takes long. Raises ConfigError.

    It asks a network of the same layers and as many weights, all so large that no setting is too strong for them. How
    many weights a layer has is known after training only where all layers compete for them."""
    graph = pruned_graph(config, made.data.sample_shape, made.data.classes)
    weights, rng = {}, np.random.default_rng(0)
    for node in graph.nodes:
        if node.weighted:
            rows, fan_in = graph.weight_rows(node), graph.fan_in(node)
            mask = top_blocks(rng.random((rows, fan_in)), node.density, node.block)
            weights[node.name] = FloatWeights(mask * LARGE, np.zeros(rows, np.float32), mask)
    inputs = size(graph.input_shape)
    scaling = quantize.InputScaling(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), -7)
    untrained = FloatNetwork(graph, weights)
    network = quantize.to_integers(untrained, scaling, dict.fromkeys(graph.shapes, 1.0), config.name)
    if config.network.profile == "global":
        room(config, network)
    else:
        check_tasks(config, network, made)


def learn_rate(settings: LearnSettings) -> float:
    """Of a new sample, in real numbers."""
    return settings.lr_mantissa * 2.0**settings.lr_exponent


def light_shares(wanted: LightclConfig) -> tuple[int, int]:
    """Room.light_keep and light_most."""
    return fraction(wanted.keep), fraction(wanted.most)


def fraction(value: float) -> int:
    """A share in units of 2**-16, as learners take it; 0 for 0 alone."""
    return min(max(round(value * 65536), int(value > 0)), 65535)
