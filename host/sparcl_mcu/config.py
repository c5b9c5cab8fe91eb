"""The experiment file: one TOML describes an experiment; the commented one is examples/digits/experiment.toml.

The dataclasses below are the schema. Unknown keys, wrong types and values out of range are refused with the name of
the file and of the key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .block_choice import AUTO
from .data.catalogue import is_path
from .design import NETWORKS, SIZED
from .errors import SparclError
from .network import NAME
from .profiles import PROFILES
from .reference.names import METHODS
from .sparsity import BLOCKS
from .toml_schema import SchemaError, parse_table

RESNET18 = "resnet18"  # network of the float reference only: no board holds it


class ConfigError(SparclError):
    """An experiment file is missing, is not TOML, or asks for something impossible."""


def _within(low: float, high: float, **default: Any) -> Any:
    return field(**default, metadata={"low": low, "high": high})


def _one_of(*choices: Any, default: Any) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class DataConfig:
    """source: bundled name, path of an .npz (relative to the experiment file) or name in the data folder.

    tasks: the classes of each task, by name or number, instead of classes_per_task. samples_per_task: at most so many
    a task are streamed to the board. validate_by: whose samples stay together when validation is cut (data/npz.py).
    domains, recordings: arrays NAME_train of the data; each value of the first (a person) becomes a task with all
    classes, and is tested on the last third of its values of the second (domain-il). pool: images are averaged over
    squares of so many pixels a side.
    """

    source: str
    normalise: str = _one_of("range", "standard", default="range")
    classes_per_task: int | None = _within(1, 254, default=None)  # 2, unless `tasks` is given
    tasks: tuple[tuple[str | int, ...], ...] | None = None
    samples_per_task: int | None = _within(2, 10_000_000, default=None)
    validate_by: str | None = None
    domains: str | None = None
    recordings: str | None = None
    pool: int | None = _within(2, 64, default=None)


@dataclass(frozen=True)
class NetworkConfig:
    """kind: one of design.NETWORKS, or resnet18 for `sparcl reference`. hidden: of one in design.SIZED. density and
    block: of the layers that are not small (design.py); auto: as block_choice.py finds for
    the board's core. profile: how the density is spread over them (profiles.py).
    mask: which weights pretraining keeps. pruned: what density is the share of; without channels layers are smaller
    and dense. freeze_until: the first layer the board trains; None: all of them."""

    kind: str = _one_of(*NETWORKS, RESNET18, default="mlp")
    hidden: tuple[int, ...] | None = _within(1, 4096, default=None)  # 64, 32 for an mlp, 16, 32, 64 for a cnn_s
    density: float = _within(0.001, 1.0, default=0.25)
    block: str = _one_of(*map(str, BLOCKS), AUTO, default="1x1")
    profile: str = _one_of(*PROFILES, default="uniform")
    mask: str = _one_of("magnitude", "random", default="magnitude")
    pruned: str = _one_of("weights", "channels", default="weights")
    freeze_until: str | None = None


@dataclass(frozen=True)
class PretrainConfig:
    """Float training on the first `tasks` tasks, with all their training samples: dense epochs, then epochs after
    pruning. prune: at once, or a little after each epoch of the dense ones' second half. shipped: the board is not
    taught these tasks again; their samples only fill its replay buffer, or tell EWC and LightCL what to hold."""

    tasks: int = _within(1, 254, default=1)
    shipped: bool = False
    epochs: int = _within(1, 10_000, default=10)
    fine_tune_epochs: int = _within(0, 10_000, default=5)
    learning_rate: float = _within(1e-6, 10.0, default=0.05)
    batch: int = _within(1, 65536, default=32)
    prune: str = _one_of("one-shot", "gradual", default="one-shot")


@dataclass(frozen=True)
class LearnConfig:
    """Learning on the board. Learning rate a sample: lr_mantissa * 2**lr_exponent. batch: steps whose gradients are
    gathered before they are applied; 1 needs no memory for them. method: what is learnt beside the new sample.
    replay_at: what the replay buffer holds, inputs or the activations at the border of the frozen layers (latent
    replay). The other keys: as LearnSettings."""

    epochs: int = _within(1, 1000, default=3)
    replay: int = _within(1, 65535, default=100)
    replay_at: str = _one_of("input", "border", default="input")
    batch: int = _within(1, 255, default=1)
    lr_mantissa: int = _one_of(1, 3, default=1)
    lr_exponent: int = _within(-15, 0, default=-7)
    method: str = _one_of("er", "der", "der++", "ewc", "lightcl", default="er")
    alpha_shift: int = _within(0, 15, default=5)
    beta_shift: int = _within(0, 7, default=0)
    anneal: int = _within(0, 15, default=0)
    single_head_loss: bool = False
    margin_skip: int = _within(0, 65535, default=0)


@dataclass(frozen=True)
class TdmConfig:
    """Task-aware dynamic masking. intra, inter: shares of a layer's blocks, moved at an event, lent to a new task."""

    importance: str = _one_of("off", "paper", "released", "magnitude", default="off")
    intra: float = _within(0.0, 0.5, default=0.005)
    inter: float = _within(0.0, 0.5, default=0.01)


@dataclass(frozen=True)
class DgmConfig:
    """Dynamic gradient masking. sparsity: q, the share of a layer's weights, stored or not, that does not learn between
    two refreshes; 0: off."""

    sparsity: float = _within(0.0, 0.999, default=0.0)


@dataclass(frozen=True)
class LightclConfig:
    """[learn] method "lightcl", whose [learn] replay says how many anchors it has. keep: share of a layer's channels
    that each task wants kept. most: share of them that is kept at most, and has memory."""

    keep: float = _within(0.001, 0.999, default=0.15)
    most: float = _within(0.001, 0.999, default=0.3)


@dataclass(frozen=True)
class GrdaConfig:
    """Directional pruning by gRDA (of our reconstruction of EsaCL). c, mu: after n samples weights in use are drawn
    towards 0 by c * rate**(mu + 1/2) * n**mu, rate the learning rate of [learn]; c = 0: off. rho: sharpness, gradients
    are taken a step of at most 2**rho units of a master up the gradient; 0: where the weights are."""

    c: float = _within(0.0, 1000.0, default=0.0)
    mu: float = _within(0.5, 0.99, default=0.6)
    rho: int = _within(0, 14, default=0)


@dataclass(frozen=True)
class IdsConfig:
    """Instance selection in one pass (of our reconstruction of EsaCL). share: of the new samples that is learnt, those
    with the largest gradient of the last layer; 0: all of them, IDS is off."""

    share: float = _within(0.0, 0.999, default=0.0)


@dataclass(frozen=True)
class DdrConfig:
    """Dynamic data removal. fraction: of each task's samples, removed in its first epochs; 0: off. samples: of a task,
    that the board has counters for; 0: as [data] samples_per_task. within_task: a sample is right when its class wins
    among its task's."""

    fraction: float = _within(0.0, 0.9, default=0.0)
    samples: int = _within(0, 65535, default=0)
    within_task: bool = False


@dataclass(frozen=True)
class BoardConfig:
    """name: as listed by `sparcl boards`. port: serial port or URL of a board that runs already; None: start one.
    commit_every: samples after which the board keeps what it learnt in flash, as it does at the end of each task;
    0: never, and the firmware has no store."""

    name: str = "native"
    port: str | None = None
    commit_every: int = _within(0, (1 << 32) - 1, default=0)


@dataclass(frozen=True)
class ReferenceConfig:
    """The float reference (`sparcl reference`): the published protocol in torch, from random weights.

    method: one of reference.names.METHODS; those with a mask in front take their density from [network], the others
    are dense. learning_rates: pairs of method and learning rate, where one differs from `learning_rate`. scenario:
    tasks are groups of classes or the data's domains. er_weight, der_alpha, der_beta: weights of the buffer's losses.
    importance, cwi_alpha, cwi_beta: score of weights and gradients. q: gradient sparsity, a share of all weights; None:
    four fifths of the weights that exist are updated. p_intra, p_inter: shares of all weights. ddr_correct: arg-max
    over all classes or the task's own.
    """

    method: str = _one_of(*METHODS, default="sparcl-der++")
    scenario: str = _one_of("class-il", "domain-il", default="class-il")
    epochs: int = _within(1, 10_000, default=50)
    batch: int = _within(1, 65536, default=32)
    learning_rate: float = _within(1e-6, 10.0, default=0.03)
    learning_rates: tuple[tuple[str | float, ...], ...] = ()
    batch_norm: bool = True
    crop_flip: bool = False
    single_head_loss: bool = False
    er_weight: float = _within(0.0, 100.0, default=1.0)
    der_alpha: float = _within(0.0, 100.0, default=0.1)
    der_beta: float = _within(0.0, 100.0, default=0.5)
    ewc_lambda: float = _within(0.0, 1e6, default=10.0)
    ewc_gamma: float = _within(0.0, 1.0, default=1.0)
    lwf_lambda: float = _within(0.0, 100.0, default=1.0)
    tdm: bool = True
    ddr: bool = True
    dgm: bool = True
    importance: str = _one_of("paper", "released", "magnitude", default="paper")
    cwi_alpha: float = _within(0.0, 100.0, default=0.5)
    cwi_beta: float = _within(0.0, 100.0, default=1.0)
    p_intra: float = _within(0.0, 1.0, default=0.01)
    p_inter: float = _within(0.0, 1.0, default=0.01)
    q: float | None = _within(0.0, 1.0, default=None)
    ddr_fraction: float = _within(0.0, 0.99, default=0.3)
    ddr_score: str = _one_of("misclassified", "transitions", default="misclassified")
    ddr_correct: str = _one_of("all", "task", default="all")

    def rate(self, method: str) -> float:
        """The learning rate of a method."""
        return next((float(rate) for name, rate in self.learning_rates if name == method), self.learning_rate)


@dataclass(frozen=True)
class Config:
    """An experiment. `folder` is where the file lies: relative data paths start there."""

    name: str
    data: DataConfig
    seed: int = _within(0, (1 << 32) - 1, default=0)
    network: NetworkConfig = NetworkConfig()
    pretrain: PretrainConfig = PretrainConfig()
    learn: LearnConfig = LearnConfig()
    tdm: TdmConfig = TdmConfig()
    dgm: DgmConfig = DgmConfig()
    ddr: DdrConfig = DdrConfig()
    lightcl: LightclConfig = LightclConfig()
    grda: GrdaConfig = GrdaConfig()
    ids: IdsConfig = IdsConfig()
    board: BoardConfig = BoardConfig()
    reference: ReferenceConfig = ReferenceConfig()
    folder: Path = field(default=Path(), metadata={"internal": True})

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of `canonical` as JSON."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def canonical(self) -> dict[str, Any]:
        """`to_dict` less what changes no result: where files and ports are on this machine, how often a board commits,
        and settings that are younger than others and at their defaults. A data path counts by its file name (the data
        have a checksum of their own)."""
        content = self.to_dict()
        content["board"].pop("port", None)
        del content["board"]["commit_every"]
        if self.reference == ReferenceConfig():  # the board's runs do not depend on it
            del content["reference"]
        if self.learn.replay_at == "input":
            del content["learn"]["replay_at"]
        if self.network.pruned == "weights":
            del content["network"]["pruned"]
        if self.lightcl == LightclConfig():
            del content["lightcl"]
        if self.grda == GrdaConfig():
            del content["grda"]
        if self.ids == IdsConfig():
            del content["ids"]
        if is_path(self.data.source):
            content["data"]["source"] = Path(self.data.source).name
        return content

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; keys that are None are left out, as in a file."""
        content = dataclasses.asdict(self)
        del content["folder"]
        return {
            key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in content.items()
        }

    def to_toml(self) -> str:
        """A file that `load` reads back to the same configuration, wherever it is written."""
        content = self.to_dict()
        if is_path(self.data.source):
            content["data"]["source"] = str((self.folder / self.data.source).resolve())
        lines = [f"{key} = {_toml_value(value)}" for key, value in content.items() if not isinstance(value, dict)]
        for section, table in content.items():
            if isinstance(table, dict):
                lines += ["", f"[{section}]", *(f"{key} = {_toml_value(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    # JSON writes text, integers, finite floats and lists exactly as TOML does, but for the DEL character.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def load(path: Path) -> Config:
    """Read an experiment file. Raises ConfigError naming file, key, what is wrong and what is possible."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; make one with: sparcl new {path.parent}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """The text of an experiment file -> Config; `path` is where it came from."""
    try:
        config = parse_table(Config, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except SchemaError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not NAME.fullmatch(config.name):
        raise ConfigError(f"{path}: name is {config.name!r}; use at most 40 letters, digits, '-' and '_'")
    try:
        data, network = _resolved_data(config.data), _resolved_network(config.network)
        _check_rates(config.reference)
    except SchemaError as error:
        raise ConfigError(f"{path}: {error}") from None
    return dataclasses.replace(config, data=data, network=network, folder=path.parent)


def _resolved_data(data: DataConfig) -> DataConfig:
    """Defaults that depend on other keys filled in."""
    if "\0" in data.source:
        raise SchemaError("[data] source holds a NUL character; give a name or a path")
    if "" in (data.domains, data.recordings, data.validate_by):
        raise SchemaError("[data] domains, recordings and validate_by name arrays; none may be empty: leave it out")
    if (data.domains is None) != (data.recordings is None):
        raise SchemaError("[data] domains and recordings belong together; give both or neither")
    if data.domains is not None:
        if data.tasks is not None or data.classes_per_task is not None or data.validate_by is not None:
            raise SchemaError("[data] domains make the tasks: leave out tasks, classes_per_task and validate_by")
        return data
    if data.tasks is None:
        return dataclasses.replace(data, classes_per_task=data.classes_per_task or 2)
    if data.classes_per_task is not None:
        raise SchemaError("[data] gives both tasks and classes_per_task; keep one of them")
    if len(data.tasks) < 2 or not all(data.tasks):
        raise SchemaError("[data] tasks must list at least two tasks of at least one class each")
    return data


def _resolved_network(network: NetworkConfig) -> NetworkConfig:
    hidden = network.hidden
    if hidden is None:
        return dataclasses.replace(network, hidden=(64, 32)) if network.kind == "mlp" else network
    if network.kind not in SIZED:
        kinds = " and ".join(map(repr, SIZED))
        raise SchemaError(f"key 'hidden' in [network] is for {kinds}; {network.kind!r} has its own layers")
    if not 1 <= len(hidden) <= 8:
        raise SchemaError(f"[network] hidden has {len(hidden)} layers; give 1 to 8")
    return network


def _check_rates(reference: ReferenceConfig) -> None:
    for pair in reference.learning_rates:
        if len(pair) != 2 or pair[0] not in METHODS or not (isinstance(pair[1], float) and 1e-6 <= pair[1] <= 10):
            raise SchemaError(
                f"[reference] learning_rates has {list(pair)!r}; give pairs of a method ({', '.join(METHODS)}) and its "
                "learning rate in 1e-06 .. 10"
            )
