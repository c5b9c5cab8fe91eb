"""`sparcl plan`: what a network will occupy on a board, before anything is compiled."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..boards.catalogue import BoardFacts, find
from ..errors import SparclError
from ..graph import Graph, GraphError, size
from .ui import terminal

if TYPE_CHECKING:
    from sparcl_tools.plan import MemoryPlan

    from ..network import Network

SESSION_BYTES = 400  # the streaming firmware's own variables besides one frame of a sample; a test measures them
STACK_BYTES = 2048  # assumed where no linker script of ours sets it aside
CODE_BYTES = 26_000  # what runtime, session and port need at most
LARGEST = 5


class ReplayAt(StrEnum):
    INPUT = "input"
    BORDER = "border"


class PlanError(SparclError):
    """A network does not fit a board, or its plan cannot be drawn."""


def plan(
    network: Annotated[Path, typer.Argument(help="Network file, such as network.sparcl.")],
    board: Annotated[str, typer.Option("--board", help="Board, as listed by `sparcl boards`.")] = "native",
    replay: Annotated[int, typer.Option(min=0, max=65535, help="Samples the replay buffer holds.")] = 100,
    batch: Annotated[int, typer.Option(min=1, max=255, help="Steps gathered before they are applied.")] = 1,
    replay_at: Annotated[ReplayAt, typer.Option(help="What the buffer holds, as [learn] replay_at.")] = ReplayAt.INPUT,
    ewc: Annotated[bool, typer.Option("--ewc", help="Room for EWC in the place of a replay buffer.")] = False,
    lightcl: Annotated[
        bool, typer.Option("--lightcl", help="Room for LightCL, with as many anchors as --replay says.")
    ] = False,
    ids: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Room for IDS, and the share of new samples it lets learn.")
    ] = 0.0,
    grda: Annotated[bool, typer.Option("--grda", help="Room for pruning by gRDA.")] = False,
    rho: Annotated[int, typer.Option(min=0, max=14, help="With --grda and --ewc: sharpness, as [grda] rho.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the arena over the steps into this SVG file.", show_default=False)
    ] = None,
) -> None:
    """Print the memory plan of a network: state, arena, what sets the peak, and whether it fits the board."""
    from sparcl_tools.plan import plan as make_plan

    from ..config import LightclConfig
    from ..learners.base import Room
    from ..network_file import load
    from ..prepare import fraction, light_shares

    facts = find(board)
    net = load(network)
    if ewc and replay_at is ReplayAt.BORDER:
        raise PlanError("EWC replays nothing, so --replay-at border has no meaning with --ewc; leave one of them out")
    room = Room(batch=batch, ewc=True) if ewc else Room(replay, batch, latent=replay_at is ReplayAt.BORDER)
    if lightcl:
        if ewc:
            raise PlanError("a network has room for EWC or for LightCL; leave one of --ewc and --lightcl out")
        keep, most = light_shares(LightclConfig())
        room = replace(room, logits=True, light_keep=keep, light_most=most)
    room = replace(room, ids=fraction(ids), prune=int(grda), prune_mu=128 * grda, rho=rho)
    memory = make_plan(net, room)
    console = terminal()
    if not console.is_terminal:
        console.width = 120  # a file has room for a line a buffer
    console.print(_state_table(memory))
    console.print(_arena_table(memory))
    console.print(_peak(memory), markup=False)
    if room.prune:
        console.print(_pruning(net, rho), markup=False)
    if room.ids:
        console.print(_selection(net, ids), markup=False)
    if room.replay and any(node.frozen for node in net.graph.nodes):
        console.print(_buffers(net.graph, replay), markup=False)
    _methods(net, facts.core, replay, console)
    if picture is not None:
        _draw(memory, picture)
        console.print(f"Wrote {picture}", markup=False)
    _verdict(memory, net.inputs, facts, console)


def _methods(network: Network, core: str, samples: int, console: Console) -> None:
    """What each method would add."""
    from ..counted import CountedError
    from .plan_methods import costs

    try:
        found = list(costs(network, core, samples))
    except CountedError as error:
        console.print(f"What methods would add is not known: {error}", markup=False)
        return
    table = Table("method", "for", "RAM, bytes", "flash, bytes", "a step, instructions", box=SIMPLE_HEAD)
    for column in table.columns[2:]:
        column.justify = "right"
    for cost in found:
        sizes = (f"{cost.ram:+,}", f"{cost.flash:+,}", f"{cost.instructions:,.0f}")
        table.add_row(cost.name, cost.settings, *sizes)
    console.print(
        f"RAM and flash (a Cortex-M4's) that methods would add, buffers of {_count(samples)} samples, and about "
        f"what a step would take on {core}:",
        markup=False,
    )
    console.print(table)


def _pruning(network: Network, rho: int) -> str:
    """What gRDA and sharpness cost of a step."""
    from ..learners.grda import pruned

    weights = sum(network.weights[node.name].slots for node in pruned(network))
    said = f"gRDA: {_count(weights)} weights are drawn towards 0 after each pass that learns; what is 0 stays stored"
    if rho:
        once = network.macs_forward + network.macs_input_grad + network.macs_weight_grad
        said += (
            f"\nSharpness: a pass that learns goes forward and back twice, {_count(2 * once)} multiply-accumulates in "
            f"the place of {_count(once)}"
        )
    return said


def _selection(network: Network, share: float) -> str:
    """What IDS saves of a step, and costs."""
    node = network.graph.nodes[-1]
    backward = network.macs_input_grad + network.macs_weight_grad
    inputs = size(network.graph.shapes[node.sources[0]])
    return (
        f"IDS: {1 - share:.1%} of the new samples are not learnt, each saves {_count(backward)} multiply-accumulates "
        f"of its backward pass; every one costs {_count(inputs + network.classes)} more and a softmax"
    )


def _buffers(graph: Graph, samples: int) -> str:
    """What a replay buffer of inputs and one of latents would take."""
    try:
        border = graph.border
    except GraphError as error:
        return f"Replay of inputs only: {error}"
    values = {"inputs": size(graph.input_shape), f"activations of {border}": size(graph.shapes[border])}
    each = " or ".join(f"{_count(samples * n)} bytes of {what} ({_count(n)} each)" for what, n in values.items())
    whole, latent = values.values()
    verdict = "is larger than an input" if latent > whole else f"takes {latent / whole:.0%} of an input"
    return f"A replay buffer of {_count(samples)} samples: {each}; a latent {verdict} ([learn] replay_at)"


def _state_table(memory: MemoryPlan) -> Table:
    table = Table(f"state, {_count(memory.state_bytes)} bytes: what is learnt", "bytes", box=SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for field in sorted(memory.state, key=lambda field: -field.bytes):
        table.add_row(field.what, _count(field.bytes))
    return table


def _arena_table(memory: MemoryPlan) -> Table:
    title = f"arena, {_count(memory.arena_bytes)} bytes: scratch"
    table = Table(title, "offset", "bytes", "first step", "last step", box=SIMPLE_HEAD)
    table.columns[1].justify = table.columns[2].justify = "right"
    for b in memory.arena:
        table.add_row(b.what, _count(b.offset), _count(b.bytes), memory.steps[b.first], memory.steps[b.last])
    return table


def _peak(memory: MemoryPlan) -> str:
    step = max(range(len(memory.steps)), key=memory.alive)
    largest = _listed([(b.what, b.bytes) for b in memory.arena if b.first <= step <= b.last])
    return f"Most of the arena is needed in step “{memory.steps[step]}”, {_count(memory.alive(step))} bytes: {largest}"


def _draw(memory: MemoryPlan, picture: Path) -> None:
    from ..report import plots

    shown = memory.to_dict()
    drawing = plots.standalone(plots.arena(shown["steps"], shown["arena"], shown["arena_bytes"]), 960)
    try:
        picture.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise PlanError(f"cannot write {picture}: {error}") from None


def _verdict(memory: MemoryPlan, inputs: int, facts: BoardFacts, console: Console) -> None:
    """Say what is needed and what there is. Raises PlanError when it does not fit."""
    stack = facts.stack_bytes or (STACK_BYTES if facts.ram_bytes is not None else 0)
    parts = {
        "state": memory.state_bytes,
        "arena": memory.arena_bytes,
        "session": SESSION_BYTES + inputs,
        "stack": stack,
    }
    needed, flash = sum(parts.values()), memory.constant_bytes
    added = " + ".join(f"{name} {_count(size)}" for name, size in parts.items() if size)
    console.print(f"RAM needed: {_count(needed)} bytes = {added}", markup=False)
    console.print(
        f"Flash needed: {_count(flash)} bytes of tables, and at most {_count(CODE_BYTES)} of code", markup=False
    )
    if facts.ram_bytes is None or facts.flash_bytes is None:
        console.print(f"Board {facts.name} sets no limit", markup=False)
        return
    lacking = []
    if needed > facts.ram_bytes:
        largest = _listed([*memory.rows(), ("session", parts["session"]), ("stack", stack)])
        lacking.append(f"{_count(needed)} bytes of RAM, {_count(facts.ram_bytes)} are available (largest: {largest})")
    if flash + CODE_BYTES > facts.flash_bytes:
        lacking.append(f"{_count(flash + CODE_BYTES)} bytes of flash, {_count(facts.flash_bytes)} are available")
    if lacking:
        raise PlanError(
            f"the network does not fit board {facts.name!r}: it needs {' and '.join(lacking)}. Choose a smaller replay "
            "buffer, freeze more layers (freeze_until), a lower density, or a larger board (sparcl boards)"
        )
    console.print(
        f"It fits {facts.name}: {_count(facts.ram_bytes - needed)} of {_count(facts.ram_bytes)} bytes of RAM are left"
        + ("" if facts.stack_bytes else "; its Arduino core takes some of them"),
        markup=False,
    )


def _listed(parts: list[tuple[str, int]]) -> str:
    """The largest of them with their bytes."""
    return "; ".join(f"{what}: {_count(size)}" for what, size in sorted(parts, key=lambda part: -part[1])[:LARGEST])


def _count(value: int) -> str:
    return f"{value:,}"
