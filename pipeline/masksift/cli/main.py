"""Run one command line: exit codes, signals and error output."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from masksift.cli.parser import make_parser
from masksift.core.errors import Interrupted, MasksiftError, RunFailed
from masksift.core.signals import ignore_signals, install_signal_handlers
from masksift.core.text import escape_unprintable


def entry() -> NoReturn:
    """Run the command in its own process, and exit."""
    install_signal_handlers()
    code = main()
    ignore_signals()  # the exit code is final
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Run exit handlers in the interpreter's order, and end the process without finalizing the interpreter.

    A thread of a native library (Arrow, DuckDB) that takes the lock during finalization aborts the process: a completed
    run would end with the exit code of a crash.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the reader of a pipe may be gone
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit code."""
    args, rest = make_parser().parse_known_args(argv)
    if rest:
        args.parser.fail_unknown_args(rest)
    command: Callable[[argparse.Namespace], int] = args.command
    # Cluster errors reach the user as one message; tracebacks of distributed are in the workers' logs. Tornado logs its
    # callbacks that a closing cluster interrupts.
    for name in ("distributed", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    json_output = getattr(args, "log_format", None) == "json"
    if json_output and logging.lastResort is not None:  # also formats lines of this process without logging setup
        from masksift.runtime.telemetry.logs import JsonFormatter

        logging.lastResort.setFormatter(JsonFormatter())
    try:
        return command(args)
    except KeyboardInterrupt as e:
        interrupted = Interrupted(
            "The run was interrupted", "Finished blocks are kept", "Run the same command again to resume"
        )
        return _print_error(interrupted, e, json_output)
    except MasksiftError as e:
        return _print_error(e, e, json_output)
    except Exception as e:
        failed = RunFailed(
            f"The run failed: {type(e).__name__}: {e}",
            "Finished blocks are kept",
            "Fix the cause (MASKSIFT_TRACEBACK=1 shows the traceback) and run the same command again",
        )
        code = _print_error(failed, e, json_output)
        if os.environ.get("MASKSIFT_TRACEBACK"):
            raise
        return code


def _print_error(error: MasksiftError, cause: BaseException, json_output: bool) -> int:
    """Print an error on standard error, and return its exit code."""
    if json_output:
        from masksift.runtime.progress import ProgressReporter
        from masksift.runtime.telemetry import failed_run_id

        fields = {"run_id": run_id} if (run_id := failed_run_id(cause)) else {}
        ProgressReporter("json").warn(str(error), event="failed", exit_code=error.exit_code, **fields)
    else:
        print(f"masksift: {escape_unprintable(str(error))}", file=sys.stderr)
    return error.exit_code
