"""Recompute images of a completed run from its stored predictions and labels, and compare all results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from masksift.core import signals
from masksift.core.task_result import TaskResult
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_parts import read_image_rows
from masksift.engine.work_items import BlockTask
from masksift.review.verify.comparisons import TOLERANCE, Comparisons
from masksift.review.verify.config import VerifyConfig
from masksift.review.verify.image_check import ImageCheck, SourceArrays
from masksift.review.verify.inputs import ImageReader
from masksift.review.verify.reference import Settings
from masksift.review.verify.tables import check_rankings, check_thresholds
from masksift.review.verify.thresholds import Totals, read_pair_totals, read_thresholds
from masksift.review.verify.with_cleanlab import MAX_PROBABILITIES_BYTES, IssueCollector, cleanlab_version
from masksift.runtime.progress import ProgressReporter
from masksift.storage.tables.lookup import filter_images
from masksift.storage.tables.parquet import read_table

MAX_REGIONS = 200_000
"""Listed regions of the sample that are held in memory and compared."""
_BATCH_IMAGES = 1024
"""Rows of the table of images that are read at a time."""

Row = dict[str, Any]


def verify(config: VerifyConfig, progress: ProgressReporter) -> Row:
    """Verify a run.

    Args:
        config: The run and the sample.
        progress: Reporter of the stage.

    Returns:
        The result as plain values, as `--json` prints them.

    Raises:
        MasksiftError: There is no complete run, or a store cannot be read.
    """
    run = open_completed_run(config.run, config.storage)
    images = int(run.record["images"])
    positions = _choose(images, config)
    verification = _Verification(run, config, len(positions) == images, positions)
    with progress.stage("verify", len(positions)) as stage:
        for result in verification.check_images(positions):
            stage.advance(result)
            signals.raise_if_interrupted()
    verification.check_tables()
    return verification.result(len(positions))


def _choose(images: int, config: VerifyConfig) -> Sequence[int]:
    """Return the positions of the images to recompute, ascending."""
    if config.sample == "all" or config.sample >= images:
        return range(images)
    chosen: list[int] = np.random.default_rng(config.seed).choice(images, config.sample, replace=False).tolist()
    return sorted(chosen)


def _settings(run: CompletedRun) -> Settings:
    configuration = run.record["configuration"]
    coco, regions = configuration["coco"], configuration["regions"]
    return Settings(
        float(configuration["softmin"]["temperature"]),  # infinity is stored as text
        configuration["clc"]["rule"],
        configuration["tccp"]["tau"],
        configuration["tccp"]["lattice"],
        coco["sources"],
        coco["aggregate"],
        coco["min_area"],
        regions["min_area"],
        "omission" in run.methods,
    )


class _Verification:
    """Verification of a run.

    Args:
        run: The run.
        config: Configuration of the command.
        covers_all: The sample has all images, from which the thresholds are recomputed.
        positions: Positions of the sampled images.
    """

    def __init__(self, run: CompletedRun, config: VerifyConfig, covers_all: bool, positions: Sequence[int]) -> None:
        self._run, self._config, self._covers_all = run, config, covers_all
        self.comparisons = Comparisons(config.top)
        rows = read_table(run.directory, "thresholds.parquet").to_pylist()
        settings, thresholds = _settings(run), read_thresholds(rows, run.record["cut"])
        pairs = read_table(run.directory, "class_pairs.parquet").to_pylist()
        pair_totals = read_pair_totals(rows, pairs)
        self._totals = Totals(thresholds, settings, len(run.class_names)) if covers_all else None
        self._cleanlab = cleanlab_version()
        self._issues = self._issue_collector(sum(row["pixels"] for row in rows))
        regions, lists_all = self._read_regions(positions)
        self._check = ImageCheck(
            run,
            settings,
            thresholds,
            self.comparisons,
            regions,
            lists_all_regions=lists_all,
            pair_totals=pair_totals,
            totals=self._totals,
            uses_cleanlab=self._cleanlab is not None,
            issues=self._issues,
        )
        self._recomputed = 0

    def _issue_collector(self, pixels: int) -> IssueCollector | None:
        """Return what collects the pixels for cleanlab, or None with the reason."""
        if self._cleanlab is None:
            self.comparisons.skip("comparison with cleanlab: it is not installed (pip install cleanlab)")
            return None
        configuration, what = self._run.record["configuration"], "issues of cleanlab"
        needed = 8 * pixels * len(self._run.class_names)
        if not self._covers_all:
            self.comparisons.skip(f"{what}: they depend on all images, see --sample all")
        elif configuration["clc"]["rule"] != "rank":
            self.comparisons.skip(f"{what}: cleanlab does not have the rule {configuration['clc']['rule']!r}")
        elif configuration.get("thresholds_from") is not None:
            self.comparisons.skip(f"{what}: the thresholds are those of another run")
        elif needed > MAX_PROBABILITIES_BYTES:
            self.comparisons.skip(
                f"{what}: it needs {needed / 2**30:.1f} GiB of probabilities at a time, more than "
                f"{MAX_PROBABILITIES_BYTES >> 30} GiB"
            )
        else:
            return IssueCollector()
        return None

    def _task(self, position: int) -> tuple[BlockTask, int]:
        """Return the block of an image, and its index in its source."""
        task = self._run.tasks[self._run.tasks.plan.blocks.block_at(position)]
        return task, task.block.start + position - task.position

    def _read_regions(self, positions: Sequence[int]) -> tuple[dict[tuple[str, int], list[Row]], bool]:
        """Return the listed regions of the sampled images, and whether the table lists all regions of the run."""
        found: dict[tuple[str, int], list[Row]] = defaultdict(list)
        total = held = 0

        def counted() -> Iterator[Any]:
            nonlocal total
            for table in self._run.region_tables():
                total += len(table)
                yield table

        tables = counted()
        if not self._covers_all:
            tables = filter_images(tables, [(task.spec.name, index) for task, index in map(self._task, positions)])
        for table in tables:
            for row in table.slice(0, max(0, MAX_REGIONS - held)).to_pylist():
                found[row["source"], row["index"]].append(row)
            held += len(table)
        if held > MAX_REGIONS:
            self.comparisons.skip(f"{held - MAX_REGIONS:,} listed regions, those after the first {MAX_REGIONS:,}")
        lists_all = total < self._run.record["configuration"]["regions"]["top"] and held <= MAX_REGIONS
        return found, lists_all

    def check_images(self, positions: Sequence[int]) -> Iterator[TaskResult]:
        """Check images, and yield the counters of each."""
        run, source = self._run, -1
        arrays: SourceArrays | str = ""
        for first in range(0, len(positions), _BATCH_IMAGES):
            batch = positions[first : first + _BATCH_IMAGES]
            rows = read_image_rows(run.context, run.directory, batch)
            for position, row in zip(batch, rows, strict=True):
                task, _ = self._task(position)
                if task.block.source != source:
                    source, arrays = task.block.source, self._open(task)
                result = TaskResult(position, 1, task.spec.pixels, {row["status"]: 1})
                if isinstance(arrays, str):
                    self.comparisons.skip(arrays, images=1)
                else:
                    before = arrays.reader.bytes
                    self._check.check(row, arrays)
                    self._recomputed += 1
                    result.bytes_read = arrays.reader.bytes - before
                yield result

    def _open(self, task: BlockTask) -> SourceArrays | str:
        """Open the arrays of a source, or return the reason why its images cannot be recomputed."""
        spec = task.spec
        if spec.stored_evidence:
            return f"images of {spec.name}: the source holds evidence and no predictions"
        arrays = [spec.labels, *(array.stored for array in spec.prediction_arrays), spec.image_id, *spec.size_arrays]
        options = self._config.storage.options([array.url for array in arrays if array is not None])
        try:
            reader = ImageReader(spec, task.layout.evidence_dtype, options)
        except FileNotFoundError:
            return f"images of {spec.name}: its predictions or labels do not exist any more at {spec.url}"
        return self._check.open(task, reader)

    def check_tables(self) -> None:
        """Check what depends on all images."""
        check_rankings(self._run, self.comparisons)
        if self._totals is None:
            self.comparisons.skip(
                "thresholds, class_pairs and class_quality: they depend on all images, see --sample all"
            )
            return
        if self._recomputed < self._run.record["images"]:
            self.comparisons.skip("thresholds, class_pairs and class_quality: some images cannot be recomputed")
            return
        check_thresholds(self._run, self._totals, self.comparisons)
        if self._issues is not None:
            unknown = (self._totals.pixels == 0) & (self._totals.seen > 0)
            if unknown.any():
                name = self._run.class_names[int(unknown.argmax())]
                self.comparisons.skip(
                    f"issues of cleanlab: class {name} is predicted and never given, which cleanlab treats differently"
                )
            elif len(self._issues.labels) < self._run.scored_images:
                self.comparisons.skip("issues of cleanlab: some masks or predictions cannot be read")
            elif self._issues.labels:
                self._issues.compare(self.comparisons)

    def result(self, sampled: int) -> Row:
        """Return the result as plain values."""
        run, comparisons = self._run, self.comparisons
        return {
            "run": self._config.run,
            "fingerprint": run.record["fingerprint"],
            "finished": run.record["finished"],
            "images": run.record["images"],
            "sampled": sampled,
            "seed": None if self._covers_all else self._config.seed,
            "recomputed": self._recomputed,
            "tolerance": TOLERANCE,
            "cleanlab": self._cleanlab,
            "passed": comparisons.mismatches == 0 and self._recomputed > 0,
            "values": sum(one.values for one in comparisons.all),
            "differing": comparisons.mismatches,
            "comparisons": [one.as_json() for one in comparisons.all],
            "mismatches": [mismatch for one in comparisons.all for mismatch in one.listed],
            "not_checked": [{"what": what, "images": images} for what, images in comparisons.not_checked.items()],
        }
