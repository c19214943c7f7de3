"""Signals interrupt a run exactly once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from masksift.core.signals import ignore_signals, install_signal_handlers, raise_if_interrupted


@pytest.fixture(autouse=True)
def restore_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    install_signal_handlers()
    yield
    install_signal_handlers()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_raises_and_later_signals_are_ignored(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGINT)


def test_swallowed_interrupt_is_raised_again_at_the_next_check() -> None:
    raise_if_interrupted()
    with contextlib.suppress(KeyboardInterrupt):  # like a callback of a library
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        raise_if_interrupted()


def test_install_signal_handlers_clears_an_earlier_interrupt() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    install_signal_handlers()
    raise_if_interrupted()


def test_ignore_signals_ignores_later_signals() -> None:
    ignore_signals()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    raise_if_interrupted()
