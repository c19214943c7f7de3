"""A wish to stop is heard once, and for certain."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from masksift.core import signals as interruption


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interruption.install_signal_handlers()
    yield
    interruption.install_signal_handlers()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_and_the_next_ones_let_the_run_close(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_was_swallowed_is_raised_at_the_next_block() -> None:
    interruption.raise_if_interrupted()
    with contextlib.suppress(KeyboardInterrupt):  # as a callback of a library may do
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        interruption.raise_if_interrupted()


def test_a_new_command_starts_afresh() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    interruption.install_signal_handlers()
    interruption.raise_if_interrupted()


def test_at_its_end_a_process_cannot_be_interrupted_any_more() -> None:
    interruption.ignore_signals()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    interruption.raise_if_interrupted()
