"""The commands put together, and how errors end.

A `SparclError` is the user's to mend: its message on stderr, exit code 2. Ctrl-C: exit code 130. Anything else is a
defect of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
from typing import Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import SparclError
from . import (
    bench,
    freeze,
    look,
    make,
    plan,
    reference,
    results_digits,
    results_ewc,
    results_faults,
    results_latent,
    results_methods,
    results_operators,
    results_reference,
    results_sparcl,
    run,
    state,
)
from .ui import terminal

_SPACE = "free some disk space, or write to another disk"
_RIGHTS = "choose a file or folder that you may use"
_KIND = "a folder stands where a file should, or a file where a folder should: move it away, or name another place"
_NAME = "choose a shorter name, without links that lead in a circle"
_REMEDIES = {errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.EACCES: _RIGHTS, errno.EROFS: _RIGHTS}
_REMEDIES |= {errno.EISDIR: _KIND, errno.ENOTDIR: _KIND, errno.EEXIST: _KIND}
_REMEDIES |= {errno.ENAMETOOLONG: _NAME, errno.ELOOP: _NAME}


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        errors = terminal(stderr=True)
        try:
            return super().invoke(ctx)
        except SparclError as error:
            errors.print("[bold red]error:[/] ", end="")
            errors.print(str(error), markup=False)
            raise typer.Exit(2) from None
        except OSError as error:
            if error.errno not in _REMEDIES:
                raise
            where = f"{error.filename}: " if error.filename else ""
            errors.print(f"error: {where}{error.strerror}; {_REMEDIES[error.errno]}", markup=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            errors.print("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparcl {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print it and end."),
) -> None:
    """Networks that keep learning on microcontrollers: pretrain, generate C, build, teach, report."""


results = typer.Typer(help="Measure the figures of docs/results again.", no_args_is_help=True)
data = typer.Typer(help="Look at data before training on them.", no_args_is_help=True)
data.command("check")(look.data_check)
app.command("new")(make.new)
app.add_typer(data, name="data")
app.command("pretrain")(make.pretrain)
app.command("generate")(make.generate)
app.command("plan")(plan.plan)
app.command("freeze")(freeze.freeze)
app.command("build")(make.build)
app.command("run")(run.run)
app.command("pull")(state.pull)
app.command("push")(state.push)
app.command("reference")(reference.reference)
app.command("report")(look.report)
app.command("boards")(look.boards)
app.command("bench")(bench.bench)
app.command("doctor")(look.doctor)
app.command("demo")(run.demo)
app.add_typer(results, name="results")
results.command("digits")(results_digits.digits)
results.command("ewc")(results_ewc.results_ewc)
results.command("faults")(results_faults.faults)
results.command("latent")(results_latent.latent)
results.command("methods")(results_methods.results_methods)
results.command("operators")(results_operators.operators)
results.command("reference")(results_reference.results_reference)
results.command("sparcl")(results_sparcl.sparcl)
