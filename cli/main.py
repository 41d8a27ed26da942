"""The `igc` command: its sub-commands, its exit codes, and how an error looks.

Exit codes: 0 success; 1 the check failed; 2 bad usage or bad input; 3 a defect in igc;
130 interrupted. An error is one line on stderr; IGC_DEBUG=1 adds the traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from . import audit, compile, convert, demo, explain, inspect, report, verify
from .common import debugging
from .limits import bound_memory
from .watched import watched

BAD, DEFECT, INTERRUPTED, TERMINATED = 2, 3, 130, 143
# What torch and onnxruntime say where Python would raise a MemoryError.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory: you tried", "std::bad_alloc")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compile")(compile.command)
app.command("verify")(verify.command)
app.command("audit")(audit.command)
app.command("report")(report.command)
app.command("inspect")(inspect.command)
app.command("explain")(explain.command)
app.command("convert")(convert.command)
app.command("demo")(demo.command)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Compiles trained gated multi-task networks into the plain static networks they describe.

    A gate that is closed after training leaves channels that are never read. igc removes them,
    proves that the result computes the same, writes it as ONNX and says what it costs.

    Exit codes: 0 success; 1 the check failed (mismatch, budget exceeded); 2 bad usage or bad
    input, with one line that says what and what to do. IGC_DEBUG=1 shows tracebacks.

    Examples:

      igc compile gated.pt --out model.onnx --report report.html

      igc verify gated.pt model.onnx

      igc demo
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"igc {installed('igc-compiler')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def main() -> NoReturn:
    """Runs the command line of this process, in a child, and exits with its code."""
    sys.exit(watched(_command))


def _command() -> int:
    from .memory import return_large_blocks

    for ending in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, ending):
            signal.signal(getattr(signal, ending), _terminate)
    bound_memory()
    return_large_blocks()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `igc report ... | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; errors go to stderr, one line each."""
    try:
        code = app(list(arguments), prog_name="igc", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        message, code = _explain(error)
        if debugging():
            for line in traceback.format_exc().splitlines():
                print(_printable(line), file=sys.stderr)
        print("igc: " + _on_one_line(message), file=sys.stderr)
    if code == INTERRUPTED:
        print("igc: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """What went wrong in one line, and the exit code that goes with it."""
    # typer's usage errors come from the click that it was installed with or carries inside.
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        context = getattr(error, "ctx", None)
        path = "igc" if context is None else context.command_path
        return f"{format_message().rstrip('.')}; see {path} --help", BAD
    code = getattr(error, "exit_code", None)  # igc.errors.IgcError, without importing igc
    if isinstance(code, int) and code != DEFECT:
        return str(error), code
    if isinstance(error, OSError) and (error.filename is not None or error.errno):
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{(error.strerror or str(error)).lower()}", BAD
    if isinstance(error, MemoryError) or any(said in str(error) for said in OUT_OF_MEMORY):
        return "not enough memory for this network; try a smaller --input", BAD
    return (
        f"internal error: {type(error).__name__}: {error} "
        "(this is a defect in igc: please report it with the output of IGC_DEBUG=1)"
    ), DEFECT


def _on_one_line(message: str) -> str:
    """The message without line breaks and without what a terminal would obey."""
    return _printable(" ".join(message.split()))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Turns a signal into an exception, so that temporary files are removed on the way out."""
    raise SystemExit(TERMINATED)
