"""Stop a run on Ctrl-C or SIGTERM, exactly once.

The first signal raises KeyboardInterrupt in the main thread. If it arrives inside a callback or finalizer of a library,
the exception is lost. The signal is therefore recorded, and `raise_if_interrupted`, called after every block, raises
again. Later signals are ignored: closing a run takes seconds.
"""

from __future__ import annotations

import signal

_interrupt_requested = False


def install_signal_handlers() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt once. Call it in the main thread of a command's process."""
    global _interrupt_requested
    _interrupt_requested = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _request_interrupt)


def _request_interrupt(number: int, frame: object) -> None:
    global _interrupt_requested
    if not _interrupt_requested:
        _interrupt_requested = True
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM until the process ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt if a signal has arrived, even if its first exception was swallowed."""
    if _interrupt_requested:
        raise KeyboardInterrupt
