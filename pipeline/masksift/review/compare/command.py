"""The line of a comparison: open both runs, say how they differ, hold their tables and their images side by side.

Everything is answered as plain values: what `--json` prints, and what is told in words (`told`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.result_tables import ranking_parts
from masksift.review.class_changes import class_changes
from masksift.review.compare.config import RANK, CompareConfig
from masksift.review.compare.config_diff import key_differences, same_sources, source_differences
from masksift.storage.tables.join_runs import JoinedImages, iter_image_rows, join_images
from masksift.storage.tables.parquet import read_table


def compare(config: CompareConfig) -> dict[str, Any]:
    """Everything that is said of two runs. Raises UsageError where one of them is not complete, or where ``by`` is no
    score that both have."""
    old = open_completed_run(config.old, config.storage, [config.new])
    new = open_completed_run(config.new, config.storage, [config.old])
    methods = [name for name in new.methods if name in old.methods]
    if config.by not in (RANK, *methods):
        raise UsageError(
            f"by is {config.by!r}, and the scores of both runs are {', '.join(methods) or 'none'}",
            "by what images have changed is not known",
            f"Give --by {RANK}, or a score of both",
        )
    runs = {"old": old, "new": new}
    classes = {side: read_table(run.folder, "class_quality.parquet").to_pylist() for side, run in runs.items()}
    same = same_sources(old.parts.sources, new.parts.sources)
    rows = {
        side: iter_image_rows(run.folder, ranking_parts(_scored(run)), run.image_parts, methods)
        for side, run in runs.items()
    }
    with join_images(rows["old"], rows["new"], same, methods) as pairs:
        images = _images(pairs, config, _shown(config.by, runs, methods))
    return {
        "old": _facts(config.old, old, classes["old"]),
        "new": _facts(config.new, new, classes["new"]),
        "differences": key_differences(old.record, new.record),
        "sources": source_differences(old.parts.sources, new.parts.sources, config.top),
        "classes": class_changes(classes["old"], classes["new"]),
        **images,
    }


def _scored(run: CompletedRun) -> int:
    count: int = run.record["counts"].get(SCORED, 0)
    return count


def _facts(url: str, run: CompletedRun, classes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of one run."""
    record, pixels = run.record, sum(row["pixels"] for row in classes)
    flagged = record["flagged_pixels"]
    return {
        "url": url,
        "fingerprint": record["fingerprint"],
        "finished": record["finished"],
        "ranked_by": record["configuration"]["rank_by"],
        "images": record["images"],
        "counts": dict(sorted(Counter(record["counts"]).items())),
        "pixels": pixels,
        "flagged_pixels": flagged,
        "flagged_share": flagged / pixels if pixels else None,
        "estimated_issues": record["estimated_issues"],
    }


def _shown(by: str, runs: Mapping[str, CompletedRun], methods: Sequence[str]) -> str | None:
    """The score that is told of each image: that which counts, else that which the new run ranks by, else any of both;
    None where they have none in common."""
    wanted = runs["new"].record["configuration"]["rank_by"] if by == RANK else by
    return wanted if wanted in methods else next(iter(methods), None)


def _images(pairs: JoinedImages, config: CompareConfig, shown: str | None) -> dict[str, Any]:
    ids, first = pairs.duplicate_ids()
    return {
        "images": pairs.counts() | {"ids_that_occur_twice": ids, "the_first_of_them": first},
        "scores": pairs.scores(),
        "by": config.by,
        "shown": shown,
        "up": pairs.most_changed(config.by, shown, config.top, up=True),
        "down": pairs.most_changed(config.by, shown, config.top, up=False),
        **{f"only_{side}": pairs.only_in(side, config.top) for side in ("old", "new")},
        **{f"quarantined_in_{side}": pairs.quarantined_in(side, config.top) for side in ("old", "new")},
    }
