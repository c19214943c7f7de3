"""Writes in the background."""

from __future__ import annotations

import threading

import pytest

from masksift.engine.block_io import BackgroundWriter


@pytest.mark.parametrize("background", [True, False])
def test_background_writer_finishes_all_calls_in_order(background: bool) -> None:
    done: list[int] = []
    with BackgroundWriter(background=background) as writer:
        for number in range(5):
            writer.submit(done.append, number)
    assert done == [0, 1, 2, 3, 4]


def test_background_writer_runs_one_call_at_a_time_in_the_background() -> None:
    started, release, done = threading.Event(), threading.Event(), []

    def write_slowly(number: int) -> None:
        started.set()
        assert release.wait(20)
        done.append(number)

    with BackgroundWriter(background=True) as writer:
        writer.submit(write_slowly, 1)
        assert started.wait(20)
        assert done == []
        release.set()
        writer.submit(done.append, 2)
        assert done[:1] == [1], "the previous call has finished"
    assert done == [1, 2]


@pytest.mark.parametrize("background", [True, False])
def test_background_writer_raises_the_exception_of_a_call(background: bool) -> None:
    with pytest.raises(ZeroDivisionError, match="division"), BackgroundWriter(background=background) as writer:
        writer.submit(divmod, 1, 0)


def test_background_writer_lets_an_exception_of_the_caller_through() -> None:
    def work() -> None:
        with BackgroundWriter(background=True) as writer:
            writer.submit(divmod, 1, 0)
            raise KeyError("caller")

    with pytest.raises(KeyError, match="caller"):
        work()
