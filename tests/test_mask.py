"""Masks that learn, in C: codes, the n lowest, shrinking, growing and selecting in place, against a small NumPy model
written from docs/numerics.md."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import BlockMask, Cut, Memory
from helpers import runtime_library
from kernel_cases import Rng, masters, rngs
from sparcl_mcu import numerics as nx
from sparcl_mcu.sparsity import BLOCKS, Block, Mask, expand
from sparcl_tools.layout import pack

GROWTH, GROWN, NO_KEY = 4, 255, 256
uint32 = st.integers(0, 2**32 - 1)
CodeOf = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)


# ---- the model


def code(t: int) -> int:
    if t < 8:
        return t
    e = nx.blen(t) - 4
    return 8 + 8 * e + ((t >> e) & 7)


def decode(c: int) -> int:
    return c if c < 8 else (8 + ((c - 8) & 7)) << ((c - 8) >> 3)


def lowest(codes: Sequence[int], n: int, h: int) -> set[int]:
    """The items taken; NO_KEY is no candidate."""
    candidates = [i for i, c in enumerate(codes) if c != NO_KEY]
    if n >= len(candidates):
        return set(candidates)
    cut = sorted(codes[i] for i in candidates)[n]
    below = {i for i in candidates if codes[i] < cut}
    ties = [i for i in candidates if codes[i] == cut]
    r = nx.pick(h, len(ties))
    return below | {ties[(r + k) % len(ties)] for k in range(n - len(below))}


def grown(stored: NDArray[np.bool_], n: int, seed: int, step: int, layer: int) -> NDArray[np.bool_]:
    """Block mask after n blocks were added."""
    flat = stored.ravel().copy()
    left = int(np.count_nonzero(~flat))
    for b in np.flatnonzero(~flat):
        if nx.pick(nx.hash32(seed, GROWTH, step, layer, int(b)), left) < n:
            flat[b], n = True, n - 1
        left -= 1
    return flat.reshape(stored.shape)


# ---- the same in C


@dataclass
class Layer:
    """A sparse layer as NumPy has it: blocks stored, their terms and whether they learn, masters of every weight."""

    block: Block
    wide: bool
    capacity: int
    has_terms: bool
    has_selection: bool
    has_holds: bool
    stored: NDArray[np.bool_]  # (groups, columns)
    terms: NDArray[np.uint8]
    selected: NDArray[np.bool_]
    masters: NDArray[np.int16]  # (rows, fan_in)

    def place(self) -> None:
        """Lay it out as C has it, in memory that shows writes beyond the capacity."""
        size = self.block.rows * self.block.cols
        mask = expand(self.stored, self.block)
        start, index, packed = sparse_pack(self.masters, mask, self.block)
        self.memory = Memory()
        self.start = self.memory.both(np.array(start, np.uint16))
        self.index = self.memory.both(np.zeros(self.capacity, np.uint16 if self.wide else np.uint8))
        self.index[: len(index)] = index
        self.c_masters = self.memory.both(np.zeros(self.capacity * size, np.int16))
        self.c_masters[: len(packed)] = packed
        self.c_terms = self.memory.both(np.zeros(self.capacity, np.uint8))
        self.c_terms[: len(index)] = self.terms[self.stored]
        bits = np.zeros(-(-self.capacity // 8) * 8, np.bool_)
        bits[: len(index)] = self.selected[self.stored]
        self.bits = self.memory.both(np.packbits(bits, bitorder="little"))
        self.held = [self.memory.both(np.zeros(self.capacity * size, np.int16)) for _ in range(3)]  # A', F, H
        for values, unit in zip(self.held, (0, 128, 128), strict=True):
            values[: len(packed)] = np.array(packed) - unit
        self.c = BlockMask(
            self.c_masters.ctypes.data,
            *(values.ctypes.data if self.has_holds else None for values in self.held),
            self.start.ctypes.data,
            self.index.ctypes.data,
            self.c_terms.ctypes.data if self.has_terms else None,
            self.bits.ctypes.data if self.has_selection else None,
            *self.stored.shape,
            self.capacity,
            size,
            2 if self.wide else 1,
        )

    def check(self) -> None:
        """C's memory is what this layer would be laid out as."""
        self.memory.check()
        start, index, packed = sparse_pack(self.masters, expand(self.stored, self.block), self.block)
        assert self.start.tolist() == start
        assert self.index[: len(index)].tolist() == index
        assert self.c_masters[: len(packed)].tolist() == packed
        for values, unit in zip(self.held, (0, 128, 128), strict=True) if self.has_holds else ():
            assert values[: len(packed)].tolist() == [master - unit for master in packed]  # as they were made
        if self.has_terms:
            assert self.c_terms[: len(index)].tolist() == self.terms[self.stored].tolist()
        if self.has_selection:
            bits = np.unpackbits(self.bits, bitorder="little")[: len(index)]
            assert bits.tolist() == self.selected[self.stored].tolist()


def sparse_pack(values: NDArray[np.int16], mask: Mask, block: Block) -> tuple[list[int], list[int], list[int]]:
    """`pack`, with an index even when every block is stored: a mask may grow full."""
    if not mask.all():
        return pack(values, mask, block)
    rows, cols = block
    groups, columns = mask.shape[0] // rows, mask.shape[1] // cols
    tiles = values.reshape(groups, rows, columns, cols).swapaxes(1, 2)
    return [g * columns for g in range(groups + 1)], list(range(columns)) * groups, tiles.ravel().tolist()


@st.composite
def layers(draw: st.DrawFn) -> tuple[Layer, Rng]:
    rng, block = draw(rngs), draw(st.sampled_from(BLOCKS))
    columns = draw(st.one_of(st.integers(1, 12), st.integers(250, 256), st.integers(257, 300)))
    shape = (draw(st.integers(1, 5)), columns)
    stored = rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.9]))
    stored.flat[rng.integers(stored.size)] = True
    weights = masters(rng, expand(stored, block))
    capacity = int(rng.integers(np.count_nonzero(stored), stored.size + 1))
    terms = (rng.integers(0, 256, shape) * stored).astype(np.uint8)
    selected = (rng.random(shape) < 0.5) & stored
    wide = columns > 256 or draw(st.booleans())
    flags = [draw(st.booleans()) for _ in range(3)]
    layer = Layer(block, wide, capacity, *flags, stored, terms, selected, weights)
    layer.place()
    return layer, rng


def magnitude_code(layer: Layer) -> tuple[Callable[..., int], NDArray[np.int64]]:
    """A scl_code_of that reads C's masters, which move while it is asked; and the same of every block in NumPy."""
    size = layer.block.rows * layer.block.cols

    def of_c(_: int, b: int) -> int:
        values = layer.c_masters[b * size : (b + 1) * size].astype(np.int64) - 128
        return code(int(np.abs(values).sum()))

    sums = np.abs(layer.masters.astype(np.int64) - 128)
    rows, cols = layer.block
    groups, columns = layer.stored.shape
    blocks = sums.reshape(groups, rows, columns, cols).sum(axis=(1, 3))
    return CodeOf(of_c), np.array([[code(int(v)) for v in row] for row in blocks])


# ---- tests


@given(uint32)
def test_code_and_decode(t: int) -> None:
    library = runtime_library()
    library.scl_code.restype = library.scl_decode.restype = ctypes.c_uint32
    c = library.scl_code(ctypes.c_uint32(t))
    assert c == code(t) <= 239
    assert library.scl_decode(ctypes.c_uint32(c)) == decode(c)
    assert decode(c) <= t < decode(c + 1)
    assert decode(c) >= t * 8 / 9, "three bits behind the leading one"


def test_codes_are_monotonous() -> None:
    codes = [code(t) for t in range(5000)]
    assert codes == sorted(codes)
    assert set(codes) == set(range(codes[-1] + 1))


@settings(max_examples=300)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 100, 254, 255, NO_KEY]), max_size=40), st.integers(0, 45), uint32)
def test_the_n_lowest(codes: list[int], n: int, h: int) -> None:
    library = runtime_library()
    library.scl_cut_find.restype, library.scl_cut_takes.restype = Cut, ctypes.c_bool
    of = CodeOf(lambda _, i: codes[i])
    cut = library.scl_cut_find(of, None, ctypes.c_uint32(len(codes)), ctypes.c_uint32(n), ctypes.c_uint32(h))
    taken = {i for i, c in enumerate(codes) if library.scl_cut_takes(ctypes.byref(cut), ctypes.c_uint32(c))}
    assert taken == lowest(codes, n, h)
    assert len(taken) == min(n, sum(c != NO_KEY for c in codes))


@pytest.mark.parametrize(("h", "taken"), [(0, {0, 1}), (2**31, {2, 3}), (2**32 - 1, {0, 3})])
def test_ties_are_taken_in_turn_from_a_drawn_one(h: int, taken: set[int]) -> None:
    assert lowest([9] * 4, 2, h) == taken


@settings(max_examples=200)
@given(layers(), st.floats(0, 1), uint32)
def test_shrink(case: tuple[Layer, Rng], share: float, h: int) -> None:
    layer, _ = case
    before = int(np.count_nonzero(layer.stored))
    n = int(share * (before - 1))
    of, codes = magnitude_code(layer)
    runtime_library().scl_mask_shrink(ctypes.byref(layer.c), of, None, ctypes.c_uint32(n), ctypes.c_uint32(h))
    where = np.flatnonzero(layer.stored)
    gone = where[list(lowest(codes.ravel()[where].tolist(), n, h))]
    layer.stored.flat[gone] = False
    assert np.count_nonzero(layer.stored) == before - n
    layer.check()


@settings(max_examples=200)
@given(layers(), st.floats(0, 1.5), uint32, uint32, st.integers(0, 9))
def test_grow(case: tuple[Layer, Rng], share: float, seed: int, step: int, number: int) -> None:
    layer, _ = case
    before = int(np.count_nonzero(layer.stored))
    n = int(share * (layer.capacity - before))
    runtime_library().scl_mask_grow(ctypes.byref(layer.c), *(ctypes.c_uint32(v) for v in (n, seed, step, number)))
    n = min(n, layer.capacity - before)  # never beyond the capacity
    stored = grown(layer.stored, n, seed, step, number)
    new = stored & ~layer.stored
    layer.stored, layer.terms, layer.selected = stored, np.where(new, GROWN, layer.terms), layer.selected | new
    assert np.count_nonzero(layer.stored) == before + n
    assert (layer.masters[expand(new, layer.block)] == 128).all()
    layer.check()


@settings(max_examples=100)
@given(layers(), st.floats(0, 1), uint32)
def test_select(case: tuple[Layer, Rng], share: float, h: int) -> None:
    layer, _ = case
    layer.has_selection = True
    layer.place()
    stored = int(np.count_nonzero(layer.stored))
    n = int(share * stored)
    of = CodeOf(lambda _, b: int(layer.c_terms[b]))
    runtime_library().scl_mask_select(
        ctypes.byref(layer.c), of, None, ctypes.c_uint32(stored), ctypes.c_uint32(n), ctypes.c_uint32(h)
    )
    where = np.flatnonzero(layer.stored)
    out = where[list(lowest([int(t) for t in layer.terms.ravel()[where]], n, h))]
    layer.selected = layer.stored.copy()
    layer.selected.flat[out] = False
    assert np.count_nonzero(layer.selected) == stored - n
    layer.check()


@settings(max_examples=50)
@given(layers(), st.lists(st.tuples(st.booleans(), st.floats(0, 1), uint32), max_size=8))
def test_many_events_keep_every_master_where_it_belongs(
    case: tuple[Layer, Rng], events: list[tuple[bool, float, int]]
) -> None:
    layer, _ = case
    for step, (grow, share, seed) in enumerate(events):
        stored = int(np.count_nonzero(layer.stored))
        of, codes = magnitude_code(layer)
        if grow:
            n = int(share * (layer.capacity - stored))
            runtime_library().scl_mask_grow(ctypes.byref(layer.c), *(ctypes.c_uint32(v) for v in (n, seed, step, 1)))
            now = grown(layer.stored, n, seed, step, 1)
            new = now & ~layer.stored
            layer.terms, layer.selected = np.where(new, GROWN, layer.terms), layer.selected | new
            layer.stored = now
        else:
            n = int(share * (stored - 1))
            runtime_library().scl_mask_shrink(
                ctypes.byref(layer.c), of, None, ctypes.c_uint32(n), ctypes.c_uint32(seed)
            )
            where = np.flatnonzero(layer.stored)
            gone = where[list(lowest(codes.ravel()[where].tolist(), n, seed))]
            layer.stored.flat[gone] = False
            layer.masters[expand(~layer.stored, layer.block)] = 128
        layer.check()


def test_growth_is_uniform_over_the_missing_blocks() -> None:
    counts = np.zeros((4, 10), np.int64)
    stored = np.zeros((4, 10), np.bool_)
    stored[0] = True
    for step in range(600):
        counts += grown(stored, 6, 3, step, 0) & ~stored
    assert not counts[0].any()
    assert counts[1:].min() > 80
    assert counts[1:].max() < 165
