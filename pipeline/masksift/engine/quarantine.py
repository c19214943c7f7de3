"""Reasons of quarantined images: counted over a run, explained on the terminal, and a cause to stop early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from masksift.core.advice import advice_template
from masksift.core.errors import DataError
from masksift.core.limits import FIRST_IMAGES
from masksift.core.status import ALL_IGNORED, SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.core.text import duplicates, escape_unprintable
from masksift.engine.work_items import BlockTasks, RunContext, load_statuses

MAX_LISTED_CAUSES = 3
"""Causes that the terminal lists for each status; run.json has all."""

Causes = dict[str, dict[str, Any]]
"""Causes of quarantined images by key: status, number of images, advice, and image, reason and position of the first.

The values are plain, because they travel in task results and are stored in run.json. Different numbers in the advice do
not make different causes, so that their number is bounded.
"""


def cause_key(status: ImageStatus) -> str:
    """Return the key of the cause of a quarantined image."""
    return f"{status.status} {advice_template(status.advice)}"


def count_causes(statuses: Sequence[ImageStatus], names: Sequence[str], source: int, start: int) -> Causes:
    """Count the causes in one block: statuses and names of images ``start``, ``start`` + 1, ... of a source."""
    causes: Causes = {}
    for index, (status, name) in enumerate(zip(statuses, names, strict=True), start):
        if status.status != SCORED:
            first = {"advice": status.advice, "image": name, "reason": status.reason, "first": [source, index]}
            add_causes(causes, {cause_key(status): {"status": status.status, "images": 1, **first}})
    return causes


def add_causes(total: Causes, causes: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the causes of other images to ``total``. The order does not matter."""
    for key, cause in causes.items():
        known = total.get(key)
        if known is None:
            total[key] = dict(cause)
            continue
        first = min(known, cause, key=lambda one: one["first"])
        total[key] = {**first, "images": known["images"] + cause["images"]}


def list_causes(causes: Causes) -> list[dict[str, Any]]:
    """Return the causes for run.json, the most frequent first."""
    rows = sorted(causes.values(), key=lambda cause: (-cause["images"], cause["first"]))
    return [{name: value for name, value in cause.items() if name != "first"} for cause in rows]


def format_causes(counts: Mapping[str, int], causes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a summary: each status with its number of images and its most frequent causes."""
    for status, count in sorted(counts.items()):
        if status == SCORED:
            continue
        yield f"{count:,} quarantined: {status}"
        listed = [cause for cause in causes if cause["status"] == status]
        for cause in listed[:MAX_LISTED_CAUSES]:
            yield f"  {cause['images']:,}, for example {describe_cause(cause)}"
            if cause["advice"]:
                yield f"    {cause['advice']}"
        if len(listed) > MAX_LISTED_CAUSES:
            yield f"  and {len(listed) - MAX_LISTED_CAUSES:,} rarer causes: see quarantine in run.json"


def describe_cause(cause: Mapping[str, Any]) -> str:
    """Return the example of a cause on one line."""
    return escape_unprintable(f"{cause['image']}: {cause['reason']}")


class FirstImagesCheck:
    """Check of the first images while later ones are condensed.

    The decision depends on the statuses of exactly `FIRST_IMAGES` images, not on blocks, workers or the order in which
    blocks finish. It is made as soon as these images are condensed.

    Args:
        context: Settings of the run.
        tasks: Blocks to condense.
    """

    def __init__(self, context: RunContext, tasks: BlockTasks) -> None:
        self._context, self._first = context, []
        images = 0
        if tasks.images > FIRST_IMAGES:
            for task in tasks:
                self._first.append(task)
                images += task.block.images
                if images >= FIRST_IMAGES:
                    break
        self._pending = {task.block.number for task in self._first}

    def __call__(self, result: TaskResult) -> None:
        """Take note of a finished block. Raises DataError if the first images are quarantined with one status."""
        if result.number not in self._pending:
            return
        self._pending.remove(result.number)
        if self._pending:
            return
        statuses = [status for task in self._first for status in load_statuses(self._context, task)][:FIRST_IMAGES]
        if len({status.status for status in statuses}) > 1 or statuses[0].status in (SCORED, ALL_IGNORED):
            return
        names = [f"{task.spec.name}/{i}" for task in self._first for i in range(task.block.start, task.block.stop)]
        cause = list_causes(count_causes(statuses, names[:FIRST_IMAGES], 0, 0))[0]
        raise DataError(
            f"The first {FIRST_IMAGES} images are all quarantined with one status, so the run stopped: "
            f"{cause['status']}, for example {describe_cause(cause)}",
            *filter(None, [cause["advice"]]),
            "With other options or data, use a new --out. To go on and score all other images, repeat this command "
            "with --quarantine continue",
        )


def duplicate_class_warning(class_names: Sequence[str]) -> str | None:
    """Return a warning if several classes have one name, or None."""
    if not (found := duplicates(class_names)):
        return None
    name, numbers = next(iter(found.items()))
    more = f" ({len(found) - 1:,} other names occur several times, too)" if len(found) > 1 else ""
    return (
        f"Classes {', '.join(map(str, numbers))} are all named {name!r}{more}. Results list them as separate classes; "
        "options that take a class name mean the first. Pass distinct names with --classes."
    )
