"""The command line: ``jdetrt COMMAND``. One module per command, loaded only when it is called.

Exit codes: 0 success; 1 a ``JdetrtError``, a full disk or too little memory (one message; ``-v``
adds the traceback); 2 wrong usage; 3 a result worse than asked for; 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

from jdetrt import __version__
from jdetrt.cli.command import Group
from jdetrt.errors import JdetrtError
from jdetrt.runtime.signals import sigterm_as_ctrl_c

__all__ = ["main"]

# command -> one line of help. Its module is jdetrt.cli.<command>, its click object `command`.
COMMANDS = {
    "adopt": "Write the sidecar of a TensorRT plan that another program built.",
    "bench": "Measure speed, power and accuracy on this machine.",
    "build": "Build a TensorRT plan from an ONNX model.",
    "calibrate": "Quantise an ONNX model to INT8 and report the effect on tracking.",
    "data": "Convert and check training data, and fit anchors to it.",
    "demo": "Render a synthetic clip, track it and write the results.",
    "deploy": "Write what Triton or DeepStream needs to run a model.",
    "doctor": "Check this machine: what works, what is missing and how to install it.",
    "evaluate": "Measure detection, embeddings and tracking on labelled data.",
    "export": "Export a checkpoint as an ONNX model that includes decoding.",
    "fleet": "Build a model on many boards, and check what each of them runs.",
    "inspect": "Describe a checkpoint, an ONNX model or a TensorRT plan.",
    "refit": "Put the weights of an ONNX model into a plan built without them.",
    "score": "Score tracking results against ground truth: HOTA, MOTA, IDF1.",
    "selftest": "Build, verify and time TensorRT plans on this machine's GPU.",
    "track": "Track people in a video, images, a camera or a list of detections.",
    "train": "Train a network from a recipe and data.",
    "verify": "Compare the outputs of two models on the same frames.",
    "visualize": "Draw what a network has learnt.",
}

_EPILOG = """\b
Exit codes:
  0    success
  1    error: wrong input, or something missing on this machine
  2    wrong usage
  3    done, but a limit was missed or part of the input could not be used
  130  interrupted

\b
Shell completion (bash; likewise zsh and fish):
  eval "$(_JDETRT_COMPLETE=bash_source jdetrt)"
"""


class _LazyGroup(Group):
    """A group whose commands are imported when they are called, not when help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"jdetrt.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as err:  # click would print an empty line first
            raise click.Abort from err
        except ImportError as err:  # what extension modules make of Ctrl-C while they load
            if isinstance(err.__cause__, KeyboardInterrupt):
                raise click.Abort from err
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="jdetrt", help="Print the version and exit.")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def root(ctx: click.Context, verbose: bool) -> None:
    """Joint detection and tracking on Jetson and desktop NVIDIA GPUs."""
    ctx.obj = {"verbose": verbose}


def main(argv: list[str] | None = None) -> None:
    """Run the command line with ``argv`` (default: of the process) and exit."""
    args = sys.argv[1:] if argv is None else argv
    # -v counts wherever it stands before the first "--", so that it can be appended to a line.
    head = args[: args.index("--")] if "--" in args else args
    verbose = any(a in ("-v", "--verbose") for a in head)
    if verbose:
        args = ["-v", *(a for a in head if a not in ("-v", "--verbose")), *args[len(head) :]]
    _show_warnings()
    with sigterm_as_ctrl_c():  # what a service manager or a container sends
        code = _run(args, verbose)
    sys.exit(code)


class _Warnings(logging.Handler):
    """Prints warnings of the library, such as of frames that cannot be read, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def _show_warnings() -> None:
    logger = logging.getLogger("jdetrt")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings(logging.WARNING))


def _run(args: list[str], verbose: bool) -> int:
    try:
        result: Any = root.main(args=args, prog_name="jdetrt", standalone_mode=False)
    except (JdetrtError, OSError, MemoryError) as err:
        if verbose:
            traceback.print_exc()
        click.echo(_message(err), err=True)
        _give_up_stdout_that_fails()
        return 1
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    return result if isinstance(result, int) else 0


def _message(err: JdetrtError | OSError | MemoryError) -> str:
    if isinstance(err, JdetrtError):
        return f"{type(err).__name__}: {err}"
    if isinstance(err, MemoryError):
        return f"Out of memory ({str(err) or 'none left'}); close other programs or ask for less"
    return f"{err.filename or 'standard output, or a file'}: {err.strerror or err}"


def _give_up_stdout_that_fails() -> None:
    """Close it where it cannot be written, or Python would fail with it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()
