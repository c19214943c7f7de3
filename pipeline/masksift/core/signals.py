"""Ctrl-C and SIGTERM stop a run once, and for certain.

The first signal raises KeyboardInterrupt where the main thread stands. That may be inside somebody's callback or
finaliser, where an exception is lost; so the wish is kept, and `raise_if_interrupted`, called after every block,
raises it again.
What comes while the run is closing is ignored: closing takes seconds and leaves nothing behind.
"""

from __future__ import annotations

import signal

_wished = False


def install_signal_handlers() -> None:
    """Let SIGINT and SIGTERM (how a cluster asks a pod to go) raise KeyboardInterrupt, once, until the process ends.

    For a command's own process: call it in the main thread.
    """
    global _wished
    _wished = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: object) -> None:
    global _wished
    if not _wished:
        _wished = True
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """From here on SIGINT and SIGTERM change nothing, not even while the interpreter is taken down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt where a signal has asked for it and went unheard."""
    if _wished:
        raise KeyboardInterrupt
