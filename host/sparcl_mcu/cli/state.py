"""Commands that carry what a board has learnt to this computer and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SparclError
from .options import BoardName, Port
from .ui import terminal

if TYPE_CHECKING:
    from ..link.client import Client

Run = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Instead of a port: a run folder whose board kept a store (commit_every).", show_default=False
    ),
]


class StateCommandError(SparclError):
    """It is not clear which board is meant, or it keeps nothing."""


def pull(
    file: Annotated[Path, typer.Argument(help="Where to save the state, e.g. learned.state.")],
    port: Port = None,
    run: Run = None,
    board: BoardName = None,
) -> None:
    """Save what a board has learnt in a file."""
    from .. import state_file

    with _board(port, run, board) as client:
        state, state_hash, model = client.read_state(), client.state_hash(), client.hello().model_hash
    state_file.save(file, state)
    _say(f"Wrote {file}: {len(state)} bytes of model {model:08x}, state hash {state_hash:08x}")


def push(
    file: Annotated[Path, typer.Argument(help="A state that `sparcl pull` saved.")],
    port: Port = None,
    run: Run = None,
    board: BoardName = None,
) -> None:
    """Give a board what another one, or itself, had learnt. Its own learning is replaced."""
    from .. import state_file

    with _board(port, run, board) as client:
        client.write_state(state_file.load(file, client.hello().model_hash))
        kept = _keep(client)
        _say(f"{client.name} goes on from {file}, state hash {client.state_hash():08x}")
    _say("It is in the board's flash." if kept else "The board has no store: a power cut makes it forget this.")


def _keep(client: Client) -> bool:
    """Commit, and go on committing as before; False when the board has no store."""
    from ..link.messages import RefusedError, Status

    try:
        every = client.store().every
    except RefusedError as error:
        if error.status != Status.STORE:
            raise
        return False
    client.commit(every)
    return True


@contextmanager
def _board(port: str | None, run: Path | None, board: str | None) -> Iterator[Client]:
    """The board behind a port, or the one of a run folder, switched on again."""
    from .. import boards
    from ..link.client import Client
    from ..link.lock import key_of_environment
    from .pipeline import board_of

    if (port is None) == (run is None):
        raise StateCommandError("name the board: --port /dev/ttyACM0 if it runs, or --run RUN for the board of a run")
    stream = board_of(run) if run else boards.open_board(boards.catalogue.find(board or "native"), port=port)
    client = Client(stream, key=key_of_environment())
    try:
        yield client
    finally:
        client.close()


def _say(text: str) -> None:
    terminal().print(text, markup=False)
