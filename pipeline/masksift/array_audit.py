"""Audit arrays in memory, with the argument order and terms of cleanlab."""

from __future__ import annotations

import operator
import shutil
import tempfile
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.array_batches import (
    BatchCounts,
    compare_packed_regions,
    complete_images,
    condense_batches,
    image_ranking,
    make_config,
    make_settings,
    score_batches,
    scoring_input,
)
from masksift.core.errors import DataError, UsageError
from masksift.core.status import ALL_IGNORED, BAD_LABELS, SCORED
from masksift.core.task_result import TaskResult
from masksift.core.text import closest_match, pluralize
from masksift.engine import result_tables as results
from masksift.engine.image_views import make_view
from masksift.engine.work_items import PairCounts
from masksift.prepare.inputs import (
    LabelImages,
    check_images,
    prediction_members,
    read_class_colors,
)
from masksift.review.class_agreement import agreement_text
from masksift.review.export import FORMATS
from masksift.review.label_transforms import transform_text
from masksift.review.rendering.figure import draw_figure
from masksift.review.rendering.html import worst_images_html
from masksift.review.rendering.panels import (
    MAX_OUTLINED_REGIONS,
    PANEL_SIDE_PIXELS,
    image_title,
    more_regions_text,
    require_matplotlib,
)
from masksift.runtime.progress import ProgressReporter, is_interactive
from masksift.saved_audit import AuditedImages, CondensedBatches, RgbImage, copy_report, export_run, save_audit
from masksift.scoring.arrays import to_numpy
from masksift.scoring.image import (
    CondensedImage,
    CondensedImages,
    EvidencePlanes,
)
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from masksift.storage.tables.lookup import filter_rows
from masksift.storage.tables.schemas import REGION_ORDERS
from masksift.storage.tables.sort import sort_rows


def audit(
    labels: Any,
    pred_probs: Any,
    *,
    class_names: Sequence[str] | None = None,
    class_colors: Any = None,
    ignore: int | Sequence[int] = (),
    image_ids: Sequence[str] | None = None,
    images: Any = None,
    methods: Sequence[str] | None = None,
    rank_by: str = "auto",
    kind: str = "probabilities",
    scale: float | None = None,
    sum_tolerance: float | None = None,
    evidence_dtype: str = "auto",
    temperature: float = 0.1,
    tau: str | float = "balanced",
    rule: str = "rank",
    min_area: int = 16,
    progress: bool | None = None,
) -> Audit:
    """Find mislabeled images, regions and pixels in arrays: the tables and masks of `masksift run`, bit for bit.

    The arrays are of numpy or another library (torch, CuPy, JAX, Zarr, Dask, xarray), memory maps or nested lists. A
    large image or a batch of small ones is read at a time; 3 to 9 bytes per pixel of all images stay in memory. Tensors
    on a GPU are condensed there.
    An image with invalid labels or probabilities is quarantined: its row in `Audit.images` gives the reason. A warning
    says if that happened to all images.

    Args:
        labels: Labels (N, H, W), integers, or a list of N arrays (H, W), whose sizes may differ. Pixels that are masked
            (`numpy.ma`) are ignored. Masks of two classes may hold 0 and 255.
        pred_probs: Predictions (N, K, H, W) in uint8, uint16, float16, bfloat16, float32 or float64, or a list of N
            arrays (K, H, W). A list of arrays (N, K, H, W) is an ensemble, whose mean is audited. (N, H, W) and
            (N, 1, H, W) are the positive class of two.
        class_names: Names of the K classes. Default: "class 0", "class 1", ..., or "background", "foreground" if only
            the positive class is given.
        class_colors: sRGB colors of the K classes (K, 3), 0 to 255, for `Audit.show` and `Audit.save`. Default:
            generated ones.
        ignore: Label values of ignored pixels.
        image_ids: Ids of the N images. Default: their indices.
        images: RGB images (N, H, W, 3) uint8 for `Audit.show`, which reads the one it draws. Scores ignore them.
        methods: Scores to compute. Default: all (`masksift.scoring.methods` has the formulas).
        rank_by: Score that orders the ranking. Default: ``combined``, or softmin or the first of ``methods``.
        kind: "probabilities" or "logits".
        scale: Probability of one step of integer predictions. Default: 1/255, 1/65535.
        sum_tolerance: Largest distance of a pixel's sum over classes from 1. Default: 0.02, for integers half a step
            per class more.
        evidence_dtype: "auto" or "float32": precision of the evidence of float32 and float64 predictions and logits.
        temperature: Temperature of softmin.
        tau: "balanced", "confident" or a number: decision threshold of tccp.
        rule: "rank" or "confident": rule by which clc flags pixels.
        min_area: Smallest region to report, in pixels.
        progress: Whether to show progress on standard error. Default: on a terminal and in a notebook.

    Returns:
        The audit.

    Raises:
        DataError: If shapes or dtypes do not fit together.
        UsageError: If a parameter is out of range.
    """
    given, members = LabelImages(labels), prediction_members(pred_probs, kind, scale)
    count = len(given)
    config = make_config(
        [member.name for member in members],
        ignore=ignore,
        methods=methods,
        rank_by=rank_by,
        kind=kind,
        scale=scale,
        sum_tolerance=sum_tolerance,
        evidence_dtype=evidence_dtype,
        temperature=temperature,
        tau=tau,
        rule=rule,
        min_area=min_area,
    )
    classes = check_images(given, members, kind, scale)
    settings = make_settings(config, members, classes, class_names)
    if classes == 2:
        given.recognize_masks(config.ignore or ())
    ids = list(image_ids) if image_ids is not None else [str(i) for i in range(count)]
    if len(ids) != count:
        raise DataError(f"There are {len(ids)} image ids for {count} images", "Pass one id per image")
    rgb_images = _length(images, count)
    if rgb_images != count:
        raise DataError(f"There are {rgb_images} RGB images for {count} images", "Pass one per image, in their order")

    reporter, batches = _make_reporter(progress), list[CondensedImages]()
    statistics = ClassStatistics.empty(settings.condense_config)
    with reporter.stage("audit", count) as stage:
        for batch in condense_batches(given, members, settings):
            statistics = statistics.merge(batch.statistics)
            batches.append(batch)
            statuses = Counter(status.status for status in batch.statuses)
            stage.advance(TaskResult(len(batches), len(batch), batch.labels.size, dict(statuses)))
    condensed = CondensedBatches(batches)
    thresholds = compute_thresholds(statistics, config.tccp.tau, BatchCounts(batches, classes))
    _warn_unless_scored(condensed, kind)
    colors = read_class_colors(class_colors, classes)
    content = AuditedImages(
        config, settings.condense_config, settings.class_names, colors, ids, given, condensed, statistics
    )
    return Audit(content, thresholds, images, reporter)


def _make_reporter(progress: bool | None) -> ProgressReporter:
    shown = is_interactive() if progress is None else progress
    return ProgressReporter("auto" if shown else "quiet")


def _warn_unless_scored(condensed: Sequence[CondensedImage], kind: str) -> None:
    """Warn if no image could be scored, with the cause and the argument that changes it."""
    statuses = [image.status for image in condensed]
    if any(status.status == SCORED for status in statuses):
        return
    first, reason = statuses[0].status, statuses[0].reason
    if first == BAD_LABELS:
        remedy = "If they mark ignored pixels, pass ignore=VALUE; otherwise labels must be class numbers, from 0 on"
    elif first == ALL_IGNORED:
        remedy = "Pass other labels, or fewer values in ignore"
    elif kind == "logits":
        remedy = "Correct the model's outputs"
    else:
        remedy = "If pred_probs are logits, pass kind='logits'; if they are integers, check scale"
        remedy += "; independent probabilities per class, as of a sigmoid, must be divided by their sum"
    message = DataError(f"None of the {pluralize(len(statuses), 'image')} could be scored ({first}: {reason})", remedy)
    warnings.warn(str(message), stacklevel=3)


class Audit:
    """Results of `audit`, as Arrow tables (`.to_pandas()` converts them to data frames)."""

    def __init__(
        self,
        content: AuditedImages,
        thresholds: Thresholds,
        rgb_images: Any,
        reporter: ProgressReporter,
    ) -> None:
        """Hold the condensed images; `audit` makes these objects.

        Args:
            content: Settings, names, condensed images and their statistics.
            thresholds: Thresholds from these statistics.
            rgb_images: RGB images (N, H, W, 3), array-like, or None.
            reporter: Reports the stages.
        """
        self._content, self._config, self._class_names = content, content.config, content.class_names
        self._ids, self._condensed = content.ids, content.condensed
        self._rgb_images, self._reporter = rgb_images, reporter
        self._statistics, self._thresholds = content.statistics, thresholds
        self._codes = thresholds.encode(self._statistics.encoding)

    def __repr__(self) -> str:
        worst = ", ".join(str(name) for name in self.ranking["image_id"][:5].to_pylist())
        return f"Audit({len(self._condensed)} images, {len(self.ranking)} scored; review first: {worst})"

    def _repr_html_(self) -> str:
        """Return a table of the worst images, with pictures if RGB images were passed."""
        return worst_images_html(self.images, self.ranking, self._class_names, self._rgb_reader)

    @cached_property
    def _scored(self) -> tuple[pa.Table, PairCounts, pa.Table]:
        images_table, packed, pairs = score_batches(
            self._config, self._class_names, self._codes, self._condensed.batches, self._ids
        )
        regions = compare_packed_regions(packed, self._statistics, pairs)
        return complete_images([images_table], [regions], self._config), pairs, regions

    @property
    def images(self) -> pa.Table:
        """One row per image in input order: status, reason, scores, flagged pixels, worst class pair and region."""
        return self._scored[0]

    @cached_property
    def ranking(self) -> pa.Table:
        """All scored images, most suspicious first."""
        ranked = sort_rows(self.images, self._config.rank_by)[1]
        return self._image_ranking.add_ranks(ranked, 0, len(ranked))

    @property
    def _image_ranking(self) -> results.ImageRanking:
        return image_ranking(self._config)

    @cached_property
    def regions(self) -> pa.Table:
        """One row per region of at least ``min_area`` pixels, highest priority first.

        ``rle`` is COCO's run-length code: pycocotools decodes ``{"size": [height, width], "counts": rle}``.
        """
        ranking = self._region_ranking
        regions = sort_rows(self._scored[2], ranking.by, highest_first=True, limit=ranking.limit)[1]
        return ranking.add_ranks(regions, 0, len(regions))

    @property
    def _region_ranking(self) -> results.RegionRanking:
        regions = self._config.regions
        return results.RegionRanking((), regions.top, REGION_ORDERS[regions.rank_by])

    @property
    def thresholds(self) -> pa.Table:
        """One row per class: pixels, sum of self-confidence, confident and decision threshold."""
        return results.thresholds_table(self._statistics, self._thresholds, self._class_names)

    @property
    def class_pairs(self) -> pa.Table:
        """Flagged pixels by given and suggested class, most first (cleanlab: `common_label_issues`)."""
        return results.class_pairs_table(self._scored[1], self._class_names)

    @property
    def class_quality(self) -> pa.Table:
        """Share of each class's pixels that is not flagged."""
        return results.class_quality_table(self._statistics, self._scored[1], self._class_names)

    def issues(self, i: int) -> NDArray[np.bool_]:
        """Return the issue mask of an image (cleanlab: `find_label_issues`).

        Args:
            i: Index of the image.

        Returns:
            (H, W) bool, True where the label is flagged.
        """
        image = self._condensed[i]
        if image.status.status != SCORED:
            return np.zeros(image.labels.shape, bool)
        planes = EvidencePlanes(*(plane[np.newaxis] for plane in image.planes.arrays))
        images = scoring_input(self._config, self._codes, len(self._class_names), image.labels[np.newaxis], planes)
        mask: NDArray[np.uint8] = images.flagged.mask[0]
        return mask.astype(bool)

    def show(self, i: int | str, *, regions: int = MAX_OUTLINED_REGIONS, side: int = PANEL_SIDE_PIXELS) -> Any:
        """Draw an image with its given and predicted classes, flagged pixels and worst regions.

        A notebook shows the figure if it is a cell's last value; `.savefig("FILE.png")` writes it. An image that is not
        scored is drawn with its labels and the reason.

        Args:
            i: Index or id of the image.
            regions: Number of regions to outline, the first by rank.
            side: Longer side of a panel in pixels; larger images are reduced.

        Returns:
            A matplotlib Figure.

        Raises:
            DataError: If the RGB image does not fit the labels.
            UsageError: If no image or several have that id, or matplotlib is not installed.
        """
        require_matplotlib()
        index = self._index(i)
        image, row = self._condensed[index], self.images.slice(index, 1).to_pylist()[0]
        scored = image.status.status == SCORED
        view = make_view(
            self._rgb_reader and self._rgb_reader(index),
            image.labels,
            image.planes.predicted_class if scored else None,
            self.issues(index) if scored else None,
            side,
        )
        ranks = [int(table["rank"][0].as_py()) for table in filter_rows([self.ranking], {"index": index})]
        title = image_title(row, self._config.rank_by, ranks[0] if ranks else None, len(self.ranking))
        tables = list(filter_rows([self.regions], {"index": index}))
        outlined = tables[0].slice(0, max(0, regions)).to_pylist() if tables else []
        notes = [
            transform_text(row),
            agreement_text(row, self._class_names),
            more_regions_text(sum(map(len, tables)) - len(outlined)),
        ]
        notes = [note for note in notes if note]
        return draw_figure(view, self._class_names, title, outlined, notes, side, self._content.class_colors)

    def save(
        self, url: str, *, source: str | None = None, top: int = 500, storage: Mapping[str, Any] | None = None
    ) -> str:
        """Write the audit as a run, which all commands of masksift read, and the source that it refers to.

        The tables are those of `masksift run` on the same data, bit for bit, and `masksift score` scores the source
        again. The arrays passed to `audit` must not have changed: labels and RGB images are read again.

        Args:
            url: URL of the run.
            source: URL of the source, with labels, evidence and RGB images. Default: URL-source.zarr.
            top: Number of images in the report of the run; 0 writes none.
            storage: Storage options, with the keys of `[storage]`.

        Returns:
            The URL of the run.

        Raises:
            UsageError: If one of the URLs is in use.
        """
        source = source or f"{url.rstrip('/')}-source.zarr"
        save_audit(self._content, self._rgb_reader, url, source, top, storage or {}, self._reporter)
        return url

    def report(self, path: str, *, top: int = 500, storage: Mapping[str, Any] | None = None) -> str:
        """Write the report page of `masksift report`, which opens from a disk.

        Args:
            path: Directory or URL, new or with an earlier report.
            top: Number of ranked images on the page.
            storage: Storage options, with the keys of `[storage]`.

        Returns:
            The path of the page.

        Raises:
            UsageError: If the directory contains other files.
        """
        return copy_report(self._temporary_run, str(path), top, storage or {}, self._reporter)

    def export(
        self,
        form: str,
        out: str,
        *,
        top: int = 1000,
        min_area: int = 1,
        min_evidence: float = 0.0,
        pictures: bool = True,
    ) -> str:
        """Write the regions for an annotation tool, as `masksift export` does.

        Args:
            form: "cvat", "cvat-mask", "label-studio", "fiftyone", "coco" or "datumaro".
            out: Directory or URL, new or empty.
            top: Number of regions, the first by rank.
            min_area: Smallest area of a region, pixels.
            min_evidence: Smallest evidence of a region.
            pictures: Write the RGB images, if there are any.

        Returns:
            A summary.

        Raises:
            UsageError: If there is no such format, or the directory is in use.
        """
        if form not in FORMATS:
            raise UsageError(f"There is no export format {form!r}", f"Pass one of {', '.join(FORMATS)}")
        options = {"top": top, "min_area": min_area, "min_evidence": min_evidence, "pictures": pictures}
        return export_run(self._temporary_run, form, {"out": str(out), **options}, self._reporter)

    @cached_property
    def _temporary_run(self) -> str:
        """Directory of the saved audit, removed with this object."""
        folder = tempfile.mkdtemp(prefix="masksift-audit-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return self.save(f"{folder}/run", source=f"{folder}/audit.zarr", top=0)

    def _index(self, i: int | str) -> int:
        if isinstance(i, str):
            indices = [index for index, name in enumerate(self._ids) if name == i]
            if not indices:
                raise UsageError(f"No image has the id {i!r}", f"Did you mean {closest_match(i, self._ids)!r}?")
            if len(indices) > 1:
                raise UsageError(
                    f"Images {', '.join(map(str, indices[:5]))} have the same id {i!r}",
                    f"Pass the index: show({indices[0]})",
                )
            return indices[0]
        index, count = operator.index(i), len(self._condensed)
        if not -count <= index < count:
            raise UsageError(f"There is no image {index} among {count} images", f"Pass an index from 0 to {count - 1}")
        return index % count

    @property
    def _rgb_reader(self) -> RgbImage | None:
        """Function that returns the RGB image of an index, if there are any."""
        return None if self._rgb_images is None else self._rgb_image

    def _rgb_image(self, i: int) -> NDArray[np.uint8]:
        image, size = np.asarray(to_numpy(self._rgb_images[i])), self._condensed[i].labels.shape
        if image.shape != (*size, 3) or image.dtype != np.uint8:
            raise DataError(
                f"RGB image {i} has shape {image.shape} and dtype {image.dtype}, its labels have shape {size}",
                "Pass images (N, H, W, 3) of uint8",
            )
        return image


def _length(images: Any, default: int) -> int:
    """Return the number of RGB images, or the default if it is unknown."""
    if getattr(images, "shape", None):
        return int(images.shape[0])
    return len(images) if hasattr(images, "__len__") else default
