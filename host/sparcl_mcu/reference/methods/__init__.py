"""The methods of the float reference, one file each, and how a name becomes one."""

from __future__ import annotations

from ...config import ReferenceConfig
from .. import FloatReferenceError, schedule
from ..names import METHODS
from .agem import AGEM
from .base import Loss, Masked, Method
from .der import DER
from .derpp import DERPP
from .er import ER
from .ewc import EWC
from .joint import Joint
from .lwf import LwF
from .naive import Naive
from .rigl import Rigl
from .snip import Snip
from .sparcl import Sparcl
from .static import Static

__all__ = ["Loss", "Masked", "Method", "make"]

_BASES: dict[str, type[Method]] = {
    "naive": Naive,
    "joint": Joint,
    "er": ER,
    "der": DER,
    "der++": DERPP,
    "ewc": EWC,
    "lwf": LwF,
    "agem": AGEM,
}
_FIXED: dict[str, type[Masked]] = {"static": Static, "snip": Snip, "rigl": Rigl}
SHARE_UPDATED = 0.8  # of the weights that exist; with it q is 0.80, 0.92, 0.96 for sparsities 0.75, 0.90, 0.95


def make(name: str, settings: ReferenceConfig, density: float) -> Method:
    """A fresh method; `density` is [network]'s. Raises FloatReferenceError with the numbers and the setting's name."""
    if name not in METHODS:
        raise FloatReferenceError(f"there is no method {name!r}; the methods are {', '.join(METHODS)}")
    mask, _, base = name.rpartition("-")
    method = _BASES[base]()
    if not mask:
        return method
    if density >= 1:
        raise FloatReferenceError(
            f"method {name!r} needs a sparse network, but [network] density is {density:g}; set it below 1, or "
            f"choose {base!r}"
        )
    if mask != "sparcl":
        return _FIXED[mask](method)
    return Sparcl(method, _checked(name, settings, density))


def _checked(name: str, settings: ReferenceConfig, density: float) -> float | None:
    """q, or None without DGM."""
    if settings.tdm and density + settings.p_inter > 1:
        raise FloatReferenceError(
            f"[reference] p_inter is {settings.p_inter:g}, but [network] density {density:g} leaves only "
            f"{1 - density:g} of a layer unused; lower one of them"
        )
    if settings.tdm and density - settings.p_intra <= 0:
        raise FloatReferenceError(
            f"[reference] p_intra is {settings.p_intra:g} and [network] density {density:g}: an event would remove "
            "every weight; lower p_intra"
        )
    if settings.ddr and not schedule.removals(settings.epochs):
        raise FloatReferenceError(
            f"[reference] ddr removes data in the first 40 % of a task's epochs, but epochs is {settings.epochs}, and "
            f"no sample has come back by then; give 3 epochs or more, or set ddr to false (method {name!r})"
        )
    if not settings.dgm:
        return None
    q = 1 - SHARE_UPDATED * density if settings.q is None else settings.q
    if q <= 1 - density + 1e-9:
        raise FloatReferenceError(
            f"[reference] q is {q:g}, but [network] density {density:g} leaves a weight sparsity of {1 - density:g}: "
            "with q <= s every weight that exists would be updated; raise q, or set dgm to false"
        )
    if q >= 1:
        raise FloatReferenceError(f"[reference] q is {q:g}: no weight would be updated; lower it")
    return q
