"""Tasks of a run of many sources."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from masksift.engine.work_items import BlockGroups
from support.many_sources import IMAGES, make_tasks


def count_lines(function: Callable[[], Any]) -> int:
    """Count the executed lines of Python, those of called functions included."""
    count, previous = 0, sys.gettrace()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(previous)
    return count


def test_task_of_many_sources_costs_as_much_as_one_of_few() -> None:
    counts, sizes = [], []
    for sources in (10, 1_000):
        for tasks in (all_tasks := make_tasks(sources), all_tasks.to_condense):
            last = len(tasks) - 1
            counts.append(count_lines(lambda tasks=tasks, last=last: tasks[last]))  # type: ignore[misc]
            sizes.append(len(pickle.dumps(tasks[last])))
    assert counts[:2] == counts[2:]
    assert max(sizes) < 2_000


def test_selected_tasks_of_many_sources_are_those_of_their_sources() -> None:
    tasks = make_tasks(7)
    selected = tasks.to_condense
    assert [task.spec.name for task in selected] == ["s000000", "s000002", "s000004", "s000006"]
    assert [task.evidence_block for task in selected] == [task.block.number for task in selected] == [0, 2, 4, 6]
    assert {task.evidence_block for task in tasks if task.block.source % 2} == {7}
    assert (selected.images, tasks.images) == (4 * IMAGES, 7 * IMAGES)


def test_group_of_blocks_is_described_by_its_first_and_last_block() -> None:
    groups = BlockGroups(make_tasks(3), 2)
    assert [str(group) for group in groups] == [
        "block 0 (s000000, images 0 to 2) to block 1 (s000001, images 0 to 2)",
        "block 2 (s000002, images 0 to 2)",
    ]
