"""The whole main line on arrays in memory, for a notebook: the words and the argument order of cleanlab."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.core.errors import DataError, UsageError
from masksift.core.status import SCORED, ImageStatus
from masksift.core.text import closest_match
from masksift.engine import result_tables as results
from masksift.engine.image_views import make_view
from masksift.engine.region_table import RegionTableBuilder
from masksift.engine.work_items import PairCounts
from masksift.review.rendering.figure import draw_figure
from masksift.review.rendering.panels import (
    MAX_OUTLINED_REGIONS,
    PANEL_SIDE_PIXELS,
    image_title,
    more_regions_text,
    require_matplotlib,
)
from masksift.scoring.image import (
    EvidencePlanes,
    ImageCondenser,
    LabelValidator,
    count_confident_pixels,
    count_low_bits,
)
from masksift.scoring.kernels.condense import CondenseConfig, class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ensemble import member_config
from masksift.scoring.methods import ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_image
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from masksift.storage.sources.ensemble import check_same_shape
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.lookup import filter_rows
from masksift.storage.tables.schemas import images_schema

_ROUNDED = {"uint8", "uint16", "float16"}


def audit(
    labels: Any,
    pred_probs: Any,
    *,
    class_names: Sequence[str] | None = None,
    ignore: int | Sequence[int] = (),
    image_ids: Sequence[str] | None = None,
    images: Any = None,
    methods: Sequence[str] | None = None,
    rank_by: str = "softmin",
    kind: str = "probabilities",
    scale: float | None = None,
    sum_tolerance: float | None = None,
    evidence_dtype: str = "auto",
    temperature: float = 0.1,
    tau: str | float = "balanced",
    rule: str = "rank",
    min_area: int = 16,
) -> Audit:
    """Find mislabeled images, regions and pixels in arrays: the tables and masks of `masksift run`, bit for bit.

    ``labels`` (N, H, W), integers; ``pred_probs`` (N, K, H, W), float16/32/64 probabilities (or logits, with
    ``kind="logits"``), or uint8/uint16 in steps of ``scale`` (default 1/255, 1/65535): numpy arrays, or anything
    that answers ``[i]`` with an array-like (zarr, dask, xarray, a memory map). One image at a time is in memory, and 3
    to 9 bytes a pixel of all of them. ``ignore``: label values that do not count. A list of several such arrays is an
    ensemble: of each image the members' mean is judged. ``methods``: default all. ``images`` (N, H, W, 3) uint8, or
    anything whose ``[i]`` is one of N pictures: for `Audit.show`, which reads the one it draws; scores ignore them.

    Raises DataError where shapes or dtypes disagree, UsageError for parameters out of range. An image with bad labels
    or probabilities is quarantined: its row in `Audit.images` says why. Formulas: `masksift.scoring.methods`.
    """
    members = list(pred_probs) if isinstance(pred_probs, (list, tuple)) else [pred_probs]
    config = build_run_config(
        {
            "sources": ["memory"],
            "out": "memory",
            "rank_by": rank_by,
            "kind": kind,
            **({} if methods is None else {"methods": list(methods)}),
            "arrays": {"predictions": [f"pred_probs[{m}]" for m in range(len(members))]},
            "ignore": np.atleast_1d(list(ignore) if isinstance(ignore, Iterable) else ignore).tolist(),
            "scale": scale,
            "sum_tolerance": sum_tolerance,
            "softmin": {"temperature": temperature},
            "tccp": {"tau": tau},
            "clc": {"rule": rule},
            "regions": {"min_area": min_area},
            "evidence": {"dtype": evidence_dtype},
        },
        {},
    )
    check_same_shape({f"pred_probs[{m}]": tuple(member.shape) for m, member in enumerate(members)})
    (count, classes), *_ = [_shape(labels, member) for member in members]
    recipes = [
        _recipe(np.dtype(member.dtype).name, classes, kind, scale, sum_tolerance, evidence_dtype, config)
        for member in members
    ]
    recipe, of_members = _of_mean(recipes, config, evidence_dtype) if len(members) > 1 else (recipes[0], [])
    names = tuple(class_names) if class_names is not None else tuple(f"class {k}" for k in range(classes))
    ids = list(image_ids) if image_ids is not None else [str(i) for i in range(count)]
    if len(names) != classes or len(ids) != count:
        raise DataError(
            f"{len(names)} class names and {len(ids)} image ids are given for {classes} classes and {count} images",
            "which belongs to which cannot be known",
            "Give one each",
        )
    pictures = _length(images, count)
    if pictures != count:
        raise DataError(
            f"{pictures} pictures are given for {count} images",
            "which belongs to which cannot be known",
            "Give one each, in the order of the labels",
        )
    kept = [
        _condense(labels[i], [member[i] for member in members], recipe, of_members, config.ignore or ())
        for i in range(count)
    ]
    statistics = ClassStatistics.empty(recipe)
    for one in kept:
        statistics = statistics if one.statistics is None else statistics.merge(one.statistics)
    thresholds = compute_thresholds(statistics, config.tccp.tau, _SecondLook(kept, classes))
    return Audit(config, names, ids, kept, statistics, thresholds, images)


@dataclass(frozen=True)
class _Kept:
    """What is kept of one image."""

    labels: NDArray[np.unsignedinteger]
    planes: EvidencePlanes
    verdict: ImageStatus
    statistics: ClassStatistics | None


@dataclass(frozen=True)
class _SecondLook:
    kept: list[_Kept]
    classes: int

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        (codes,) = limits.values()
        return sum(count_confident_pixels(one.labels, one.planes, codes) for one in self.kept if one.statistics)

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        counts = np.zeros(1 << 16, np.int64)
        for one in self.kept:
            if one.statistics:
                counts += count_low_bits(one.labels, one.planes.self_confidence, self.classes, key)
        return counts


class Audit:
    """What was found. Tables are Arrow tables (`.to_pandas()` makes data frames of them)."""

    def __init__(
        self,
        config: RunConfig,
        class_names: tuple[str, ...],
        image_ids: list[str],
        kept: list[_Kept],
        statistics: ClassStatistics,
        thresholds: Thresholds,
        pictures: Any = None,
    ) -> None:
        self._config, self._names, self._ids, self._kept = config, class_names, image_ids, kept
        self._pictures = pictures
        self._statistics, self._thresholds = statistics, thresholds
        self._limits = thresholds.encode(statistics.encoding)

    def __repr__(self) -> str:
        worst = ", ".join(str(name) for name in self.ranking["image_id"][:5].to_pylist())
        return f"Audit({len(self._kept)} images, {len(self.ranking)} scored; review first: {worst})"

    def _image(self, i: int) -> ScoringInput | None:
        one = self._kept[i]
        if one.verdict.status != SCORED:
            return None
        planes = one.planes
        return ScoringInput(
            one.labels,
            planes.predicted_class,
            planes.self_confidence,
            planes.predicted_confidence,
            len(self._names),
            self._limits,
            self._config.clc.rule,
        )

    @cached_property
    def _scored(self) -> tuple[pa.Table, PairCounts, pa.Table]:
        methods = self._config.make_methods()
        k = len(self._names)
        pairs = PairCounts(np.zeros((k, k), np.int64), np.zeros((k, k), np.int64))
        regions, omissions = (
            RegionTableBuilder(self._config.regions.top, self._names),
            make_omission_rule(self._limits, methods),
        )
        rows = []
        for i, one in enumerate(self._kept):
            size = one.labels.shape
            facts = {
                "image_id": self._ids[i],
                "source": "memory",
                "index": i,
                "height": size[0],
                "width": size[1],
            }
            row: dict[str, Any] = facts | {"status": one.verdict.status, "reason": one.verdict.reason}
            image = self._image(i)
            if image is not None:
                row |= score_image(image, methods)
                found = find_image_regions(image, size, self._config.regions.min_area, omissions)
                row |= regions.add(facts, found)
                pairs = pairs.merge(PairCounts(image.flagged_pairs, (image.flagged_pairs > 0).astype(np.int64)))
            rows.append(row)
        return table_from_rows(rows, images_schema([method.name for method in methods])), pairs, regions.table()

    @property
    def images(self) -> pa.Table:
        """One row an image, in the order given: status, reason, every score, flagged pixels, worst class pair, worst
        region."""
        return self._scored[0]

    @cached_property
    def ranking(self) -> pa.Table:
        """All scored images, the one to review first on top."""
        return results.ranking_table(
            self.images, [method.name for method in self._config.make_methods()], self._config.rank_by
        )

    @property
    def regions(self) -> pa.Table:
        """One row a region of ``min_area`` pixels or more, that with most evidence on top; ``rle`` is COCO's run-length
        code, so that pycocotools decodes ``{"size": [height, width], "counts": rle}``."""
        return results.regions_table(self._scored[2])

    @property
    def thresholds(self) -> pa.Table:
        """One row a class: pixels, sum of self-confidence, confident and decision threshold."""
        return results.thresholds_table(self._statistics, self._thresholds, self._names)

    @property
    def class_pairs(self) -> pa.Table:
        """Flagged pixels by given and suggested class, most first (cleanlab: `common_label_issues`)."""
        return results.class_pairs_table(self._scored[1], self._names)

    @property
    def class_quality(self) -> pa.Table:
        """Per class the share of its pixels that is not flagged."""
        return results.class_quality_table(self._statistics, self._scored[1], self._names)

    def issues(self, i: int) -> NDArray[np.bool_]:
        """The issue mask of image i, (H, W) bool: True where the label is flagged (cleanlab: `find_label_issues`)."""
        image = self._image(i)
        return np.zeros(self._kept[i].labels.shape, bool) if image is None else image.issue_mask.astype(bool)

    def show(self, i: int | str, *, regions: int = MAX_OUTLINED_REGIONS, side: int = PANEL_SIDE_PIXELS) -> Any:
        """Image i, or the one of that id, as a matplotlib Figure: its picture (if ``images`` were given), the classes
        given and predicted, and the flagged pixels, with so many ``regions`` outlined, those with most evidence.
        ``side``: pixels of a panel's longer side; what is larger is reduced.

        A notebook shows the figure where it is a cell's last value; `.savefig("FILE.png")` writes it. Of an image that
        is not scored there are the picture and the labels, and the reason. Raises UsageError where there is no such
        image, several have that id, or matplotlib is not installed; DataError where its picture does not fit.
        """
        require_matplotlib()
        number = self._number(i)
        one, row = self._kept[number], self.images.slice(number, 1).to_pylist()[0]
        scored = one.verdict.status == SCORED
        view = make_view(
            self._picture(number),
            one.labels,
            one.planes.predicted_class if scored else None,
            self.issues(number) if scored else None,
            side,
        )
        ranks = [int(table["rank"][0].as_py()) for table in filter_rows([self.ranking], {"index": number})]
        title = image_title(row, self._config.rank_by, ranks[0] if ranks else None, len(self.ranking))
        listed = list(filter_rows([self.regions], {"index": number}))
        found = listed[0].slice(0, max(0, regions)).to_pylist() if listed else []
        more = more_regions_text(sum(map(len, listed)) - len(found))
        return draw_figure(view, self._names, title, found, [more] if more else [], side)

    def _number(self, i: int | str) -> int:
        """The number of an image, which may be told by its id."""
        if isinstance(i, str):
            numbers = [number for number, name in enumerate(self._ids) if name == i]
            if not numbers:
                raise UsageError(
                    f"no image is called {i!r}",
                    "there is nothing to show",
                    f"Did you mean {closest_match(i, self._ids)!r}?",
                )
            if len(numbers) > 1:
                raise UsageError(
                    f"images {', '.join(map(str, numbers[:5]))} are all called {i!r}",
                    "which one is meant is not known",
                    f"Give its number: show({numbers[0]})",
                )
            return numbers[0]
        number, images = operator.index(i), len(self._kept)
        if not -images <= number < images:
            raise UsageError(
                f"there is no image {number}, only {images}", "there is nothing to show", f"Give 0 to {images - 1}"
            )
        return number % images

    def _picture(self, i: int) -> NDArray[np.uint8] | None:
        if self._pictures is None:
            return None
        picture = np.asarray(self._pictures[i])
        if picture.shape != (*self._kept[i].labels.shape, 3) or picture.dtype != np.uint8:
            raise DataError(
                f"the picture of image {i} has the shape {picture.shape} and the dtype {picture.dtype}, and its labels "
                f"the shape {self._kept[i].labels.shape}",
                "it cannot be shown beside them",
                "Give pictures (N, H, W, 3) of uint8",
            )
        return picture


def _shape(labels: Any, pred_probs: Any) -> tuple[int, int]:
    given, predicted = tuple(labels.shape), tuple(pred_probs.shape)
    if len(given) != 3 or len(predicted) != 4 or given != (predicted[0], *predicted[2:]) or 0 in predicted:
        raise DataError(
            f"labels have the shape {given}, pred_probs {predicted}",
            "they must be (N, H, W) and (N, K, H, W)",
            "Bring the axes into that order; np.moveaxis does it without a copy",
        )
    if np.dtype(labels.dtype).kind not in "iu":
        raise DataError(f"labels are {labels.dtype}", "class numbers are integers", "Cast them: labels.astype('uint8')")
    return given[0], predicted[1]


def _length(images: Any, unless: int) -> int:
    """How many pictures there are, as far as it can be known."""
    if getattr(images, "shape", None):
        return int(images.shape[0])
    return len(images) if hasattr(images, "__len__") else unless


def _recipe(
    dtype: str, classes: int, kind: str, scale: float | None, tolerance: float | None, evidence: str, config: RunConfig
) -> CondenseConfig:
    integers = dtype.startswith("uint")
    if dtype not in _ROUNDED | {"float32", "float64"} or (integers and kind == "logits"):
        raise DataError(
            f"pred_probs are {dtype} of kind {kind!r}",
            "that is no precision of a probability here",
            "Give uint8, uint16, float16, float32 or float64 probabilities, or float logits",
        )
    if scale is not None and not integers:
        raise DataError(
            f"scale is {scale} and pred_probs are {dtype}", "a scale is the step of integers", "Leave scale out"
        )
    step = (scale or 1 / np.iinfo(dtype).max) if integers else 1.0
    kept = dtype if dtype in _ROUNDED and kind == "probabilities" else "float16" if evidence == "auto" else evidence
    allowed = tolerance if tolerance is not None else 0.02 + (classes * step / 2 if integers else 0)
    return CondenseConfig(
        classes, dtype, step, kind, Encoding(kept, step if integers else 1.0), allowed, config.tccp.lattice
    )


def _of_mean(
    recipes: Sequence[CondenseConfig], config: RunConfig, evidence: str
) -> tuple[CondenseConfig, list[tuple[str, CondenseConfig]]]:
    """How the mean of an ensemble is condensed, and each member taken in, by the members' own recipes."""
    classes = recipes[0].classes
    kept = Encoding("float16" if evidence == "auto" else evidence)
    mean = CondenseConfig(classes, "float32", 1.0, "probabilities", kept, float(classes), config.tccp.lattice)
    takers = [member_config(classes, one.dtype, one.scale, one.kind, one.sum_tolerance) for one in recipes]
    return mean, list(zip(config.arrays.members, takers, strict=True))


def _condense(
    labels: Any,
    predictions: Sequence[Any],
    recipe: CondenseConfig,
    members: list[tuple[str, CondenseConfig]],
    ignore: tuple[int, ...],
) -> _Kept:
    """Condense one image: labels (H, W), predictions (K, H, W) each."""
    check = LabelValidator(recipe.classes, ignore)
    plane = check.to_class_indices(np.asarray(labels)).astype(class_dtype(recipe.classes))
    planes = EvidencePlanes.empty(plane.shape[0], plane.shape[1], recipe)
    if check.status is not None:
        return _Kept(plane, planes, check.status, None)
    condensing = ImageCondenser(plane, planes, recipe, members)
    if not members:
        condensing.add_window(np.asarray(predictions[0]))
        return _Kept(plane, planes, *condensing.finish())
    mean = np.empty((recipe.classes, *plane.shape), np.float32)
    for number, member in enumerate(predictions):
        condensing.add_member_window(number, np.asarray(member), mean)
    return _Kept(plane, planes, *condensing.finish())
