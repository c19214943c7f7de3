"""Compare two completed runs: configuration, classes, scores and ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.errors import UsageError
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.class_changes import class_changes
from masksift.review.compare.config import RANK, CompareConfig
from masksift.review.compare.config_diff import key_differences, same_sources, source_differences
from masksift.storage.tables.join_runs import JoinedImages, iter_image_rows, join_images
from masksift.storage.tables.parquet import read_table


def compare(config: CompareConfig) -> dict[str, Any]:
    """Compare two runs and return plain values, as `--json` prints them."""
    old = open_completed_run(config.old, config.storage, [config.new])
    new = open_completed_run(config.new, config.storage, [config.old])
    methods = [name for name in new.methods if name in old.methods]
    if config.by not in (RANK, *methods):
        raise UsageError(
            f"by must be {RANK} or a score of both runs ({', '.join(methods) or 'none'}), got {config.by!r}",
            f"Pass --by {RANK}, or a score of both runs",
        )
    runs = {"old": old, "new": new}
    classes = {side: read_table(run.directory, "class_quality.parquet").to_pylist() for side, run in runs.items()}
    same = same_sources(old.tasks.sources, new.tasks.sources)
    rows = {
        side: iter_image_rows(run.directory, run.ranking_part_names, run.image_part_names, methods)
        for side, run in runs.items()
    }
    with join_images(rows["old"], rows["new"], same, methods) as joined:
        images = _image_lists(joined, config, _displayed_score(config.by, new, methods))
    return {
        "old": _run_facts(config.old, old, classes["old"]),
        "new": _run_facts(config.new, new, classes["new"]),
        "differences": key_differences(old.record, new.record),
        "sources": source_differences(old.tasks.sources, new.tasks.sources, config.top),
        "classes": class_changes(classes["old"], classes["new"]),
        **images,
    }


def _run_facts(url: str, run: CompletedRun, classes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    record, pixels = run.record, sum(row["pixels"] for row in classes)
    flagged = record["flagged_pixels"]
    return {
        "url": url,
        "fingerprint": record["fingerprint"],
        "finished": record["finished"],
        "ranked_by": record["configuration"]["rank_by"],
        "images": record["images"],
        "counts": dict(sorted(record["counts"].items())),
        "pixels": pixels,
        "flagged_pixels": flagged,
        "flagged_share": flagged / pixels if pixels else None,
        "estimated_issues": record["estimated_issues"],
    }


def _displayed_score(by: str, new: CompletedRun, methods: Sequence[str]) -> str | None:
    """Select the score to list with each image: ``by``, or else what the new run ranks by, or else any common one."""
    preferred = new.record["configuration"]["rank_by"] if by == RANK else by
    return preferred if preferred in methods else next(iter(methods), None)


def _image_lists(joined: JoinedImages, config: CompareConfig, score: str | None) -> dict[str, Any]:
    count, first_ids = joined.duplicate_ids()
    return {
        "images": joined.counts() | {"ids_that_occur_twice": count, "the_first_of_them": first_ids},
        "scores": joined.scores(),
        "by": config.by,
        "shown": score,
        "up": joined.most_changed(config.by, score, config.top, up=True),
        "down": joined.most_changed(config.by, score, config.top, up=False),
        **{f"only_{side}": joined.only_in(side, config.top) for side in ("old", "new")},
        **{f"quarantined_in_{side}": joined.quarantined_in(side, config.top) for side in ("old", "new")},
    }
