"""Groups of items: sizes follow durations, threads and the items left, and no item is lost or processed twice."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.runtime.executors.work_groups import (
    MAX_TASK_ITEMS,
    TASK_SECONDS,
    Backlog,
    TaskSizer,
    fold_group,
    reduction_size,
    run_group,
    task_seconds,
)
from runtime.executors import task_functions as jobs


def sizer_of(*seconds: float) -> TaskSizer:
    sizer = TaskSizer()
    for one in seconds:
        sizer.record(1, one)
    return sizer


def test_first_tasks_have_one_item() -> None:
    assert TaskSizer().task_size(10**6, 1) == 1


def test_task_size_fills_the_task_time_with_the_usual_item() -> None:
    usual = TASK_SECONDS / 10
    assert sizer_of(60.0, usual, usual).task_size(10**6, 2) == 10  # the first task compiled a kernel
    assert sizer_of(5 * TASK_SECONDS).task_size(10**6, 2) == 1
    assert sizer_of(0.0).task_size(10**6, 2) == MAX_TASK_ITEMS


def test_tasks_are_longer_on_a_large_cluster() -> None:
    assert task_seconds(4) == TASK_SECONDS
    assert sizer_of(1.0).task_size(10**6, 1000) == 10


@given(st.integers(1, 5000), st.integers(1, 50), st.floats(0, 3))
def test_task_size_leaves_work_for_every_thread_and_ends_with_single_items(
    items: int, threads: int, seconds: float
) -> None:
    sizer, left, sizes = sizer_of(seconds), items, []
    while left:
        sizes.append(sizer.task_size(left, threads))
        assert sizes[-1] == 1 or sizes[-1] * 2 * threads <= left
        left -= sizes[-1]
    assert sum(sizes) == items
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_reduction_uses_all_threads_for_few_items_and_large_tasks_for_many() -> None:
    assert reduction_size(30, 100) == 1
    assert reduction_size(10**6, 100) == 64


@given(st.integers(0, 60), st.lists(st.integers(1, 9), min_size=1))
def test_backlog_gives_every_item_until_it_is_processed(items: int, sizes: list[int]) -> None:
    backlog, done = Backlog(range(items)), []
    for turn in range(2 * items + len(sizes)):
        taken = backlog.take(sizes[turn % len(sizes)])
        processed = max(1, len(taken) - turn % 3)
        done += taken[:processed]
        backlog.put_back(taken[processed:])
    assert sorted(done) == list(range(items))
    assert backlog.left == 0


def test_error_of_one_item_keeps_the_results_of_the_others(tmp_path: Path) -> None:
    function = pickle.dumps(partial(jobs.fails_at, 1))
    outcome = run_group(function, pickle.dumps([0, 1, 2]), 60.0)
    assert (outcome.results, outcome.processed) == ([0, 2], 3)
    assert outcome.failed == {1: "OSError('failure at 1')"}
    with pytest.raises(OSError, match="failure at 1"):
        run_group(function, pickle.dumps([1]), 60.0)


def test_items_after_the_time_is_up_are_left() -> None:
    outcome = run_group(pickle.dumps(jobs.slow_square), pickle.dumps([1, 2, 3]), 0.1)
    assert (outcome.results, outcome.processed) == ([1], 1)
    assert outcome.seconds >= 0.1


def test_fold_merges_in_the_order_of_the_items() -> None:
    assert fold_group(pickle.dumps((str, jobs.add)), pickle.dumps([1, 2, 3])) == "123"
