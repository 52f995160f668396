"""`synesthete`: one command a module; errors are one line and exit code 2."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

import typer

from synesthete.cli.demo import demo, studio
from synesthete.cli.diagnose import diagnose, doctor
from synesthete.cli.evaluate import compare, cycle, evaluate
from synesthete.cli.export import export, push
from synesthete.cli.options import Command, ListCommand
from synesthete.cli.recipes import new, prepare, recipes, show
from synesthete.cli.search import sweep, tune
from synesthete.cli.train import train
from synesthete.cli.verbs import VERBS, VerbCommand, command
from synesthete.logs import LEVELS, listen, visible
from synesthete.types import InputError

__all__ = ["main"]

app = typer.Typer(
    name="synesthete",
    help="Pictures speak, sounds paint and spectrograms play: diffusion models trained, sampled and evaluated.",
    epilog="Start with: synesthete demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# typer names its usage errors no more than by this one of them.
UsageError: Any = typer.BadParameter.__mro__[1]
# What is done stays done, and the same command goes on from there; whatever else is stopped begins anew.
GOES_ON = ("prepare", "train", "sweep", "tune")
INTERRUPTED = 130  # the exit code
VERBOSE = ("info", "detail", "debug")  # -v, -vv, -vvv

for name, verb in VERBS.items():
    about, short = verb.about, None
    if verb.default:
        about = verb.help
        short = verb.about.partition(":")[0] + "."
    else:
        about += f"\n\nExamples: {', '.join(f'`{line}`' for line in verb.examples)}"
    app.command(name, cls=VerbCommand, help=about, short_help=short)(command(name))
OF_MODELS = (evaluate, compare, cycle, tune, export, push)
for function in (recipes, show, new, prepare, train, *OF_MODELS, demo, doctor, studio):
    app.command(cls=Command)(function)
app.command(cls=ListCommand)(diagnose)
app.command(cls=ListCommand)(sweep)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    verbose: int = typer.Option(
        0, "--verbose", "-v", count=True, help="Say more: -v as --log info, -vv as --log detail, -vvv as --log debug."
    ),
    log: str | None = typer.Option(
        None,
        metavar="LEVEL",
        help="error, warning, info, detail (ours, not the libraries') or debug (everybody's); SYNESTHETE_LOG, or "
        "warning, by default.",
    ),
) -> None:
    """Pictures speak, sounds paint and spectrograms play: diffusion models trained, sampled and evaluated."""
    level = choose_level(log, verbose)
    if level == "debug":  # these two have levels of their own, which are read when they are imported
        os.environ |= dict.fromkeys(("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"), "debug")
    listen(level)
    if version:
        from synesthete import __version__

        typer.echo(f"synesthete {__version__}")
        raise typer.Exit


def choose_level(log: str | None, verbose: int) -> str:
    """A name of LEVELS: what --log says, else the number of -v, else SYNESTHETE_LOG, else warning."""
    if log is None and verbose:
        return VERBOSE[min(verbose, len(VERBOSE)) - 1]
    level = os.environ.get("SYNESTHETE_LOG") or "warning" if log is None else log
    if level.lower() not in LEVELS:
        named = "SYNESTHETE_LOG" if log is None else "--log"
        raise InputError(f"{named} {level!r}: no such level; give one of {', '.join(LEVELS)}")
    return level.lower()


def main() -> None:
    """Run the command line."""
    # Libraries that announce themselves on import, or draw bars of their own, would drown our lines.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # A background job of a script hears no SIGINT, and schedulers send SIGTERM. torchrun's processes, which may be
    # waiting for each other, have to end by it at once.
    if "LOCAL_RANK" not in os.environ:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False, prog_name="synesthete")  # as `python -m`, too: completion needs one word
    except UsageError as error:
        if len(sys.argv) == 1:  # the help, which is the message here
            error.show()
            raise SystemExit(2) from None
        context = error.ctx
        command = context.command_path if context else "synesthete"
        stop(f"{error.format_message().rstrip('.')}; see `{command} --help`")
    except InputError as error:
        stop(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if error.filename is None and not full:
            raise
        remedy = "free some space" if full else "check the path and who may use it"
        stop(f"{error.filename or 'a file'}: {error.strerror}; {remedy}")
    if code == INTERRUPTED:  # which typer makes of it, too
        goes_on = next((name in GOES_ON for name in sys.argv[1:] if not name.startswith("-")), False)
        how = "goes on where it stopped" if goes_on else "begins anew; what was whole before is as it was"
        stop(f"stopped; the same command {how}", code=INTERRUPTED)
    raise SystemExit(code or 0)


def stop(message: str, code: int = 2) -> None:
    """One line on standard error, then the exit code."""
    sys.stderr.write(f"synesthete: {visible(' '.join(message.split()))}\n")
    raise SystemExit(code)
