"""Write an audit of arrays in memory as a source and a run, and make reports and exports of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from masksift.config.load import build_config, build_run_config
from masksift.config.run import RunConfig
from masksift.config.sections import StorageSection
from masksift.core.errors import UsageError
from masksift.core.specs import Color
from masksift.core.task_result import TaskResult
from masksift.prepare.inputs import LabelImages, argument_names
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.review.export.command import export
from masksift.review.export.config import export_config_class
from masksift.review.report.command import report
from masksift.review.report.config import ReportConfig
from masksift.review.report.tasks import MAX_CONCURRENT_WRITES
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.image import CondensedImage, CondensedImages
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.locations import check_separate
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join

SERIAL = {"kind": "serial"}

RgbImage = Callable[[int], NDArray[np.uint8]]


class CondensedBatches(Sequence[CondensedImage]):
    """Condensed images, stored in batches; an image is a view of its batch."""

    def __init__(self, batches: Sequence[CondensedImages]) -> None:
        self.batches = batches
        self._ends = list(accumulate(map(len, batches)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, i: int) -> CondensedImage: ...
    @overload
    def __getitem__(self, i: slice) -> list[CondensedImage]: ...
    def __getitem__(self, i: int | slice) -> CondensedImage | list[CondensedImage]:
        if isinstance(i, slice):
            return [self[number] for number in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(i)
        number = bisect_right(self._ends, i)
        batch, place = self.batches[number], i - (self._ends[number] - len(self.batches[number]))
        return CondensedImage(batch.labels[place], batch.planes[place], batch.statuses[place], None)


@dataclass(frozen=True)
class AuditedImages:
    """Content of an audit.

    Attributes:
        config: Settings of the audit.
        condense_config: Settings of its evidence.
        class_names: Names of the K classes.
        class_colors: Their colors; empty for generated ones.
        ids: Ids of the N images.
        labels: Given labels.
        condensed: The N condensed images.
        statistics: Statistics of the scored ones.
    """

    config: RunConfig
    condense_config: CondenseConfig
    class_names: Sequence[str]
    class_colors: Sequence[Color]
    ids: Sequence[str]
    labels: LabelImages
    condensed: CondensedBatches
    statistics: ClassStatistics


def save_audit(
    audited: AuditedImages,
    rgb_image: RgbImage | None,
    url: str,
    source: str,
    top: int,
    storage: Mapping[str, Any],
    progress: ProgressReporter,
) -> None:
    """Write a source with the evidence of an audit, and a run on it.

    Args:
        audited: The audit.
        rgb_image: Returns the RGB image (H, W, 3) of an index, if there are any.
        url: URL of the run.
        source: URL of the source.
        top: Number of images in the report of the run.
        storage: Storage options.
        progress: Reporter of the stages.

    Raises:
        UsageError: If one of the URLs is in use.
    """
    with argument_names(out="url"):
        check_separate(url, [source])
        options = StorageSection(**storage).options([url, source])
        for place in (url, source):
            if names := ObjectDirectory(place, options).names():
                raise UsageError(f"{place} is in use: it contains {', '.join(names[:3])}", "Pass another URL")
        _write_source(audited, rgb_image, source, storage, progress)
        config = audited.config
        kept = {name: getattr(config, name).model_dump() for name in ("softmin", "tccp", "clc", "coco", "regions")}
        tree = {
            "sources": [source],
            "out": url,
            "methods": config.methods,
            "rank_by": config.rank_by,
            "max_quarantined": len(audited.ids),
            "report": {"top": top},
            "evidence": {"dtype": config.evidence.dtype},
            "executor": SERIAL,
            "storage": dict(storage),
            **kept,
        }
        run(build_run_config(tree, {}), progress)


def _write_source(
    audited: AuditedImages,
    rgb_image: RgbImage | None,
    source: str,
    storage: Mapping[str, Any],
    progress: ProgressReporter,
) -> None:
    sizes = np.array([batch.labels.shape[1:] for batch in audited.condensed.batches])
    height, width = (int(extent) for extent in sizes.max(axis=0))
    padded = bool((sizes != (height, width)).any())
    given, ignore = audited.labels, audited.config.ignore or ()
    used = ignore or next((one for i in range(len(given)) if (one := given.read(i, ())[1])), ())
    dtype = np.dtype("uint8" if given.dtype == "bool" else given.dtype)
    if used != ignore:  # masked labels
        dtype = np.promote_types(dtype, np.min_scalar_type(used[0]))
    condense = audited.condense_config
    writer = EvidenceWriter(
        source,
        images=len(given),
        height=height,
        width=width,
        class_names=audited.class_names,
        class_colors=audited.class_colors or None,
        ignore=used,
        kind=condense.prediction_kind,
        dtype=condense.dtype,
        label_dtype=dtype.name,
        scale=condense.scale if condense.dtype.startswith("uint") else None,
        sum_tolerance=condense.sum_tolerance,
        evidence_dtype=audited.config.evidence.dtype,
        lattice=audited.config.tccp.lattice,
        pictures=rgb_image is not None,
        padded=padded,
        storage=storage,
    )
    with writer, progress.stage("save", len(given)) as stage:
        writer.add_statistics(audited.statistics)
        for i, image in enumerate(audited.condensed):
            rows, columns = image.labels.shape
            arrays = {"labels": _pad(given.read(i, used)[0].astype(dtype), height, width)}
            arrays |= {} if rgb_image is None else {"images": _pad(rgb_image(i), height, width)}
            arrays |= {"height": np.array(rows), "width": np.array(columns)} if padded else {}
            writer.write_condensed(image, arrays, audited.ids[i])
            stage.advance(TaskResult(i, 1, rows * columns, {image.status.status: 1}))


def _pad(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Pad an image (h, w, ...) to a height and width with zeros."""
    rows, columns = array.shape[:2]
    return np.pad(array, [(0, height - rows), (0, width - columns), *[(0, 0)] * (array.ndim - 2)])


def copy_report(run_url: str, target: str, top: int, storage: Mapping[str, Any], progress: ProgressReporter) -> str:
    """Make the report of a run in a local directory and copy it to another directory or URL.

    Args:
        run_url: Local directory of the run.
        target: Directory or URL of the page.
        top: Number of images.
        storage: Storage options.
        progress: Reporter of the stages.

    Returns:
        The path or URL of the page.

    Raises:
        UsageError: If the target contains other files.
    """
    directory = ObjectDirectory(target, StorageSection(**storage).options([target]))
    if (names := directory.names()) and "index.html" not in names:
        raise UsageError(f"{target} contains other files ({', '.join(names[:3])})", "Pass a new directory")
    with argument_names():
        report(build_config(ReportConfig, {"run": run_url, "top": top, "executor": SERIAL}, {}), progress)
    page = Path(run_url) / "report"
    files = sorted((path for path in page.rglob("*") if path.is_file()), key=lambda path: path.name == "index.html")
    *others, index = files
    with ThreadPoolExecutor(MAX_CONCURRENT_WRITES, thread_name_prefix="copy") as pool:
        list(pool.map(lambda path: directory.write(path.relative_to(page).as_posix(), path.read_bytes()), others))
    directory.write(index.name, index.read_bytes())  # last: the page is complete as soon as it exists
    return join(target, "index.html")


def export_run(run_url: str, form: str, tree: Mapping[str, Any], progress: ProgressReporter) -> str:
    """Export the regions of a run and return the summary.

    Args:
        run_url: URL of the run.
        form: Name of the format.
        tree: Keys of the export's configuration.
        progress: Reporter of the stages.

    Returns:
        The text that `masksift export` prints.
    """
    with argument_names():
        config = build_config(export_config_class(form), {"run": run_url, **tree}, {})
        return export(form, config, progress)
