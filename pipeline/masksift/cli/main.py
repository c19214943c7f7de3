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
from masksift.runtime.telemetry import failed_run_id
from masksift.runtime.telemetry.logs import JsonFormatter


def entry() -> NoReturn:
    """The command itself: this process is its own, signals and all."""
    install_signal_handlers()
    code = main()
    ignore_signals()  # the end is near, and its exit code is settled
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End this process with that exit code, once what is to be done at its end is done, in the interpreter's own order.

    But not through its end: a thread of a native library (Arrow's, DuckDB's) that asks for the lock while
    the interpreter is taken down aborts the process, and a run that is complete would have the exit code of a crash.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever was reading may have gone
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit code."""
    parser = make_parser()
    words, rest = parser.parse_known_args(argv)
    if rest:
        words.parser.fail_unknown_args(rest)
    act: Callable[[argparse.Namespace], int] = words.act
    # What goes wrong on the cluster reaches the user as one sentence; dask's own account of it is in the workers' logs.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    for_machines = getattr(words, "log_format", None) == "json"
    if for_machines and logging.lastResort is not None:  # what is logged here too, where nobody has set up logging
        logging.lastResort.setFormatter(JsonFormatter())
    try:
        return act(words)
    except KeyboardInterrupt as e:
        stopped = Interrupted("the run was interrupted", "what is done is kept", "The same command goes on from there")
        return _print_error(stopped, e, for_machines)
    except MasksiftError as e:
        return _print_error(e, e, for_machines)
    except Exception as e:
        failed = RunFailed(
            f"the run failed: {type(e).__name__}: {e}",
            "what is done is kept",
            "Mend the cause (MASKSIFT_TRACEBACK=1 shows where) and run the same command again",
        )
        code = _print_error(failed, e, for_machines)
        if _traceback_requested():
            raise
        return code


def _print_error(told: MasksiftError, cause: BaseException, for_machines: bool) -> int:
    """Say why there is no more to come; answers the exit code."""
    if for_machines:
        from masksift.runtime.progress import ProgressReporter

        of_run = {"run_id": run_id} if (run_id := failed_run_id(cause)) else {}
        ProgressReporter("json").warn(str(told), event="failed", exit_code=told.exit_code, **of_run)
    else:
        print(f"masksift: {escape_unprintable(str(told))}", file=sys.stderr)
    return told.exit_code


def _traceback_requested() -> bool:
    return bool(os.environ.get("MASKSIFT_TRACEBACK"))
