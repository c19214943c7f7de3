"""What is written behind the work is written in order, is waited for, and does not fail unheard."""

from __future__ import annotations

import threading

import pytest

from masksift.engine.block_io import BackgroundWriter


@pytest.mark.parametrize("background", [True, False])
def test_all_is_done_in_order_when_the_block_ends(background: bool) -> None:
    done: list[int] = []
    with BackgroundWriter(background=background) as behind:
        for number in range(5):
            behind(done.append, number)
    assert done == [0, 1, 2, 3, 4]


def test_one_thing_is_under_way_while_the_work_goes_on() -> None:
    begun, free, done = threading.Event(), threading.Event(), []

    def slowly(number: int) -> None:
        begun.set()
        assert free.wait(20)
        done.append(number)

    with BackgroundWriter(background=True) as behind:
        behind(slowly, 1)
        assert begun.wait(20)
        assert done == [], "it did not wait for it"
        free.set()
        behind(done.append, 2)
        assert done[:1] == [1], "what was asked for before is done"
    assert done == [1, 2]


@pytest.mark.parametrize("background", [True, False])
def test_what_fails_is_raised(background: bool) -> None:
    with pytest.raises(ZeroDivisionError, match="division"), BackgroundWriter(background=background) as behind:
        behind(divmod, 1, 0)


def test_what_the_work_itself_raises_goes_before() -> None:
    def work() -> None:
        with BackgroundWriter(background=True) as behind:
            behind(divmod, 1, 0)
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        work()
