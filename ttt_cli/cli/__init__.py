"""The command line: one file per command.

Torch is imported inside commands, so that help appears at once.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ttt_cli.cli import _console, bench, colorize, demo, doctor, evaluate, methods, report, segment, train, weights
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.version import __version__

DEBUG_VARIABLE = "TTTV_DEBUG"
INTERRUPTED = 130

# The base class of typer's own errors (unknown option, missing value, ...), whichever click typer uses.
WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        """Finds the command; a video in its place is answered by the command line that was meant."""
        if arguments[0] not in self.commands and Path(arguments[0]).exists():
            shown = printable(arguments[0])
            raise UsageError(f"{shown}: is no command; did you mean tttv segment {shown}?")
        return super().resolve_command(context, arguments)


app = typer.Typer(
    name="tttv",
    cls=_Commands,
    help="Segment or color video with a model that keeps training itself on the video while it predicts.",
    epilog=f"Exit codes: 0 done, 1 the input or the run failed, 2 wrong usage, 3 the input broke off (its readable "
    f"part was processed), 130 interrupted. {DEBUG_VARIABLE}=1 shows tracebacks.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("segment", epilog=segment.EPILOG)(segment.segment)
app.command("colorize", epilog=colorize.EPILOG)(colorize.colorize)
app.command("eval", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("bench", epilog=bench.EPILOG)(bench.bench)
app.command("methods", epilog=methods.EPILOG)(methods.methods)
app.command("report", epilog=report.EPILOG)(report.report)
app.command("train", epilog=train.EPILOG)(train.train)
app.command("demo", epilog=demo.EPILOG)(demo.demo)
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)
for _group in (app, weights.app):
    for _command in _group.registered_commands:
        # Typer keeps the line breaks of a docstring, which are not those of the terminal.
        _paragraphs = inspect.cleandoc(_command.callback.__doc__ or "").split("\n\n")
        _command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in _paragraphs)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        _console.raw(f"tttv {__version__}")
    elif context.invoked_subcommand is None:
        _console.raw(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, by default that of the process, and returns its exit code. Never raises."""
    failed = partial(_failed, as_json="--json" in (sys.argv[1:] if arguments is None else arguments))
    _finish_files_when_terminated()
    # Threads of torch that wait for one another spin by default. Where something else is at work, too, they keep each
    # other from the cores: on two busy ones the first frame of `street` took 15 to 19 seconds instead of 1.4.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The library's log is for programs; the command line tells its user what matters.
    logging.getLogger("ttt_cli").addHandler(logging.NullHandler())
    try:
        with warnings.catch_warnings():
            if not os.environ.get(DEBUG_VARIABLE):
                warnings.simplefilter("ignore")  # Warnings of libraries are meant for programmers.
            return int(app(arguments, standalone_mode=False) or 0)
    except TttvError as error:
        return failed(str(error), error.exit_code)
    except WrongUsage as error:
        return failed(f"{_explained(error)} (see --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        return failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _console.discard_output()
        return 0
    except Exception as error:
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return failed(f"{cause} (unexpected; set {DEBUG_VARIABLE}=1 for details)", 1)


def _explained(error: Any) -> str:
    """What an error of typer says, with what may have been meant instead."""
    nearest = next(iter(getattr(error, "possibilities", None) or ()), None)  # Of an option that there is not.
    return f"{error.message}; did you mean {nearest}?" if nearest else str(error.format_message())


def _finish_files_when_terminated() -> None:
    """Makes SIGTERM and SIGHUP do what Ctrl-C does: `kill`, `docker stop` and batch systems, and a closed terminal.

    A program that a script starts in the background ignores SIGINT, but must still end here.
    """

    def finish(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, finish)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # As under nohup.
            signal.signal(signal.SIGHUP, finish)


def _failed(message: str, code: int, as_json: bool) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()
    line = message.replace("\n", " ")
    _console.error(line)
    if as_json:
        _console.error_as_json(line, code)
    return code
