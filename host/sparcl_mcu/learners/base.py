"""What a learner is, and how it is told to learn.

An experiment holds a `Learner` and does not know which one: the float twin in torch, the integer reference in
NumPy, or a board at the other end of a serial link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import SparclError
from ..graph import INPUT, Graph

Inputs = NDArray[np.int8]  # (n, inputs) quantised samples, exponent network.input_exponent
Labels = NDArray[np.uint8]  # (n,)
Numbers = NDArray[np.int64]  # (n,)


class LearnerError(SparclError):
    """A learner was asked for something it cannot do."""


class Replay(IntEnum):
    """What a step learns beside its new sample, once there is something to replay (scl_replay_kind in C)."""

    ER = 0  # a drawn sample, by cross entropy
    REPEAT = 1  # the new sample again: the control without replay, with as many updates a step as ER
    DER = 2  # a drawn sample, by the distance of its logits to those it was stored with
    DERPP = 3  # one draw as DER, another as ER
    EWC = 4  # nothing; weights that earlier tasks need are held instead (online EWC)
    LIGHTCL = 5  # one of the task's first samples, by the distance of its maps and logits to those before the task


class Importance(IntEnum):
    """How TDM ranks blocks (scl_importance in C); docs/numerics.md, "Masks that learn"."""

    OFF = 0  # the mask is static
    PAPER = 1  # |w| + 1/2 |g of the task, single-head| + |g of the buffer|
    RELEASED = 2  # |w| + 1/2 |g of both|
    MAGNITUDE = 3  # |w|: the control


@dataclass(frozen=True)
class LearnSettings:
    """How to learn; constant during a run. Learning rate = lr_mantissa * 2**lr_exponent a sample.

    Fractions (tdm_*, dgm_share, ddr_fraction) are in units of 2**-16, as the board computes with them.
    """

    seed: int = 0  # drives replay insertion and draws, growth and ties
    lr_mantissa: int = 1  # 1 or 3
    lr_exponent: int = -7  # -15 .. 0
    replay: Replay = Replay.ER
    alpha_shift: int = 5  # 0 .. 15: the logit term of DER and DER++ weighs 2**-alpha_shift (2 alpha / classes);
    # EWC: its penalty weighs the learning rate times 2**(10 - alpha_shift); LightCL: the distance to an anchor, as DER
    beta_shift: int = 0  # 0 .. 7: a drawn sample's cross entropy weighs 2**-beta_shift
    single_head_loss: bool = False  # a new sample's cross entropy is over its task's classes
    margin: int = 0  # > 0: a sample right by that many 1/32 in its logits is not learnt (margin skip), 0 .. 65535
    importance: Importance = Importance.OFF  # TDM
    tdm_intra: int = 0  # share of a layer's blocks that an event moves, 0 .. 65535
    tdm_inter: int = 0  # share of a layer's blocks that a new task gets on trial, 0 .. 65535
    dgm_share: int = 0  # share of the stored blocks that learn between two refreshes; 0: all, DGM is off
    ddr_fraction: int = 0  # share of a task's samples that are removed; 0: DDR is off
    anneal: int = 0  # 0 .. lr_exponent + 15: in each of a task's last `anneal` epochs the rate is halved once more
    ddr_within_task: bool = False  # DDR calls a sample right if its class wins among the task's classes

    def __post_init__(self) -> None:
        if self.lr_mantissa not in (1, 3):
            raise LearnerError(f"lr_mantissa is {self.lr_mantissa}; it must be 1 or 3")
        if not -15 <= self.lr_exponent <= 0:
            raise LearnerError(f"lr_exponent is {self.lr_exponent}; it must lie in -15 .. 0")
        if not 0 <= self.anneal <= self.lr_exponent + 15:
            raise LearnerError(
                f"anneal is {self.anneal}; it must lie in 0 .. lr_exponent + 15 = {self.lr_exponent + 15}, as no rate "
                "is below 2**-15"
            )
        if self.anneal and self.replay is Replay.EWC:
            raise LearnerError(
                "EWC finds out in a task's last epoch what to hold, at the rate it has then: set [learn] anneal = 0"
            )
        for name, bits in (
            ("seed", 32),
            ("alpha_shift", 4),
            ("beta_shift", 3),
            *((name, 16) for name in ("margin", "tdm_intra", "tdm_inter", "dgm_share", "ddr_fraction")),
        ):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise LearnerError(f"{name} is {getattr(self, name)}; it must fit {bits} bits and not be negative")

    @property
    def sweeps(self) -> bool:
        """Gradients are measured for masks."""
        return self.dgm_share > 0 or self.importance in (Importance.PAPER, Importance.RELEASED)

    @property
    def masks_learn(self) -> bool:
        """Masks or gradient masks change at fixed points of a task."""
        return self.sweeps or self.importance is not Importance.OFF

    @property
    def scheduled(self) -> bool:
        """A task must announce its length."""
        return self.masks_learn or self.ddr_fraction > 0


@dataclass(frozen=True)
class Room:
    """Memory a network is generated with, beside its weights; it decides which settings a board accepts.

    It belongs to the model's hash, and the canonical state (docs/numerics.md, "State hash") depends on it.
    """

    replay: int = 0  # samples of the replay buffer, 0 .. 65535
    batch: int = 1  # steps a mini-batch gathers before it is applied; 1: at once. TDM and DGM need 1
    logits: bool = False  # the buffer keeps logits: DER, DER++
    tdm: bool = False  # masks move: indices lie in RAM
    inter: int = 0  # with tdm: as LearnSettings.tdm_inter; every sparse layer has room for so many more blocks
    dgm: bool = False  # a bit a block: selected
    slice: int = 0  # stored weights measured at a time (A, a multiple of 4); 0: nothing is measured
    ddr: int = 0  # samples of a task that DDR can follow, 0 .. 65535
    latent: bool = False  # the buffer keeps activations of the frozen border (Graph.border) in place of inputs
    ewc: bool = False  # EWC: an anchor and two counts of how much it is needed for every weight that learns
    light_keep: int = 0  # LightCL: share of a layer's channels that each task wants kept, in 2**-16; 0: no LightCL.
    # The buffer then holds its anchors, 1 .. 255, with logits
    light_most: int = 0  # LightCL: share of a layer's channels kept at most
    ids: int = 0  # IDS: share of the new samples that is learnt, in 2**-16, 0 .. 65535; 0: all, there is no IDS
    prune: int = 0  # gRDA: the threshold of the first step, in 2**-24, below 2**31; 0: nothing is pruned
    prune_mu: int = 0  # gRDA: it grows with the steps to this power, in 2**-16, 1 .. 65535
    rho: int = 0  # sharpness: gradients are taken up to 2**rho units of a master up the gradient, 1 .. 14; 0: where the
    # weights are

    def __post_init__(self) -> None:
        if self.batch > 1 and (self.tdm or self.dgm):
            raise LearnerError(
                f"a mini-batch of {self.batch} steps cannot be gathered under moving masks; set batch = 1"
            )

        if self.ewc and self.batch > 1:
            raise LearnerError(
                f"EWC holds weights update by update, not by mini-batches of {self.batch} steps; set batch = 1"
            )
        if self.light_keep and not (1 <= self.replay <= 255 and self.logits):
            raise LearnerError(f"LightCL has 1 .. 255 anchors with their logits, not {self.replay}; set [learn] replay")
        if self.light_keep and (self.tdm or self.dgm or self.ewc):
            raise LearnerError(
                "LightCL needs masks that stay, and room for it alone (no EWC): set [tdm] importance off and [dgm] "
                "sparsity 0, or choose another [learn] method"
            )
        if not 0 <= self.light_keep <= self.light_most < 1 << 16:
            raise LearnerError(
                f"LightCL keeps {self.light_keep} / 65536 of the channels a task, {self.light_most} / 65536 at most; "
                "0 <= keep <= most < 65536 is needed; set [lightcl] keep and most"
            )

        if self.prune and (self.batch > 1 or self.tdm or self.dgm):
            raise LearnerError(
                "gRDA prunes every stored weight, update by update: it needs batch = 1, and masks that stay; set [tdm] "
                "importance off and [dgm] sparsity 0, or [grda] c to 0"
            )
        if not (0 <= self.prune < 1 << 31 and (self.prune == 0 or 0 < self.prune_mu < 1 << 16)):
            raise LearnerError(
                f"gRDA's first threshold is {self.prune} / 2**24 and grows by the power {self.prune_mu} / 65536; it "
                "must be below 2**31 / 2**24, and the power in 1 .. 65535; choose another [grda] c or mu"
            )
        if not 0 <= self.rho <= 14:
            raise LearnerError(f"the radius rho of sharpness is 2**{self.rho} units of a master; 0 .. 14 are possible")
        if self.rho and not (self.prune and self.ewc):
            raise LearnerError(
                "sharpness moves gRDA's weights in use, by gradients that EWC gathers: it needs room for both; set "
                '[grda] c and [learn] method = "ewc", or leave [grda] rho out'
            )
        if not 0 <= self.ids < 1 << 16:
            raise LearnerError(f"IDS learns {self.ids} / 65536 of the new samples; 0 .. 65535 are possible")

    def entry(self, graph: Graph) -> str:
        """The tensor that the replay buffer keeps and that training passes start at. Raises GraphError."""
        return graph.border if self.latent else INPUT

    def check(self, settings: LearnSettings) -> None:
        """Raises LearnerError when the settings need memory that is not there."""
        for missing, what in (
            (settings.replay in (Replay.DER, Replay.DERPP) and not self.logits, "logits in the replay buffer"),
            (settings.replay is Replay.EWC and not self.ewc, "EWC"),
            (settings.replay is Replay.LIGHTCL and not self.light_keep, "LightCL"),
            (settings.importance is not Importance.OFF and not self.tdm, "masks that move (TDM)"),
            (settings.tdm_inter > self.inter, f"{settings.tdm_inter} / 65536 more blocks a layer (tdm_inter)"),
            (settings.dgm_share > 0 and not self.dgm, "a selection of blocks (DGM)"),
            (settings.sweeps and not self.slice, "measured importance"),
            (settings.ddr_fraction > 0 and not self.ddr, "counters for DDR"),
        ):
            if missing:
                raise LearnerError(f"the network was generated without room for {what}")


@dataclass(frozen=True)
class TaskInfo:
    """What a task announces when it opens. classes: those of its samples. samples, epochs: 0 when not known."""

    classes: tuple[int, ...]
    samples: int = 0
    epochs: int = 0


@dataclass(frozen=True)
class Position:
    """How far a learner has come in its run."""

    remembered: int  # samples offered to the replay buffer without learning them
    tasks_begun: int
    task_open: bool
    epochs_done: int  # of the open or last task
    position: int  # of that task: samples of the epochs gone by, and those observed since


class Learner(Protocol):
    """Learns tasks one after another.

    `observe` streams samples in the order given; each is learnt (batch 1, plus one second pass) before the next.
    """

    def reset(self, settings: LearnSettings) -> None:
        """Forget everything learnt: back to the network as it was quantised."""

    def remember(self, x: Inputs, y: Labels) -> None:
        """Offer samples to the replay buffer, with their logits, without learning them; EWC and LightCL find out what
        to hold."""

    def begin_task(self, task: TaskInfo) -> None:
        """Open the next task."""

    def observe(self, x: Inputs, y: Labels, numbers: Numbers | None = None) -> None:
        """Learn the samples in order. numbers: which of the task's samples each one is; only DDR needs them."""

    def end_epoch(self) -> None:
        """The task's samples were all offered once more: DDR may remove some."""

    def wanted(self) -> NDArray[np.bool_]:
        """(samples of the task,) False for those that DDR removed: do not send them again."""

    def end_task(self) -> None:
        """Close the open task."""

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        """Class of each sample by arg-max over the logits of all classes, or of those given (task-il); changes no
        learning state."""

    def stats(self) -> dict[str, int]:
        """Work done since reset; keys as in scl_counters, plus what only this learner knows (`instructions`, ...)."""

    def state_hash(self) -> int | None:
        """CRC-32 of the learnt state (docs/numerics.md); None for a learner that is not in integers."""


@runtime_checkable
class Rejoins(Protocol):
    """A learner that outlives the host's conversation with it."""

    def rejoin(self, task: TaskInfo) -> None:
        """Go on in a task that is open already."""
