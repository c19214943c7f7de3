"""Condense and score arrays batch by batch, in memory: the steps that `masksift.audit` and `masksift.lazy` share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.core.errors import DataError
from masksift.engine import result_tables as results
from masksift.engine.label_transforms import add_transforms
from masksift.engine.region_table import add_worst_regions, compare_regions, worst_regions
from masksift.engine.score_tables import ScoreTables
from masksift.engine.work_items import PairCounts
from masksift.prepare.inputs import (
    BinaryImages,
    Images,
    LabelImages,
    argument_names,
    ignore_values,
    read_predictions,
)
from masksift.scoring.arrays import image_at
from masksift.scoring.image import (
    CondensedImages,
    EvidencePlanes,
    condense_images,
    count_confident_pixels,
    count_low_bits,
    image_groups,
)
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import COMBINED
from masksift.scoring.methods.base import ImageSummary, ScoringInput
from masksift.scoring.region_priority import PairTotals
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import ThresholdCodes
from masksift.storage.sources.validate import default_class_names
from masksift.storage.tables.schemas import REGION_ORDERS, unranked_regions_schema
from masksift.storage.tables.segments import iter_packed_tables, join_tables

SOURCE = "memory"
"""Name of the source in the tables."""


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit.

    Attributes:
        config: Settings as those of a run.
        condense_config: Settings of the evidence.
        class_names: Names of the K classes.
        members: Name and settings of each member of an ensemble; empty for a single prediction.
    """

    config: RunConfig
    condense_config: CondenseConfig
    class_names: tuple[str, ...]
    members: tuple[tuple[str, CondenseConfig], ...] = ()


def make_config(
    names: Sequence[str],
    *,
    ignore: int | Sequence[int] = (),
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
) -> RunConfig:
    """Check the parameters of an audit, which `masksift.audit` describes. ``names``: those of the predictions."""
    with argument_names():
        return build_run_config(
            {
                "sources": [SOURCE],
                "out": SOURCE,
                "rank_by": rank_by,
                "kind": kind,
                **({} if methods is None else {"methods": list(methods)}),
                "arrays": {"predictions": names},
                "ignore": ignore_values(ignore),
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


def make_settings(
    config: RunConfig, members: Sequence[Images], classes: int, class_names: Sequence[str] | None
) -> AuditSettings:
    """Collect the settings of an audit.

    Args:
        config: Result of `make_config`.
        members: Predictions of each member.
        classes: Number of classes.
        class_names: Names of the classes, or None.

    Returns:
        The settings.

    Raises:
        DataError: If there is not one name per class.
    """
    names = [member.name for member in members]
    kind = config.kind or "probabilities"
    shared = (kind, config.scale, config.sum_tolerance, config.evidence.dtype, config.tccp.lattice)
    configs = [CondenseConfig.for_predictions(classes, one.dtype, *shared) for one in members]
    condense_config, ensemble = configs[0], list[tuple[str, CondenseConfig]]()
    if len(members) > 1:  # members meet their own tolerances, the mean any
        ensemble = [(name, replace(one, lattice=0)) for name, one in zip(names, configs, strict=True)]
        condense_config = CondenseConfig.for_predictions(
            classes, "float32", "probabilities", None, float(classes), config.evidence.dtype, config.tccp.lattice
        )
    binary = all(isinstance(member, BinaryImages) for member in members)
    class_names = default_class_names(classes, binary=binary) if class_names is None else tuple(class_names)
    if len(class_names) != classes:
        raise DataError(f"There are {len(class_names)} class names for {classes} classes", "Pass one name per class")
    return AuditSettings(config, condense_config, tuple(class_names), tuple(ensemble))


def condense_batches(
    labels: LabelImages, members: Sequence[Images], settings: AuditSettings
) -> Iterator[CondensedImages]:
    """Condense all images in batches: a large image, or small ones of one shape together."""
    methods, ignore = settings.config.make_methods(), settings.config.ignore or ()
    for start, stop in _batch_ranges(labels, len(settings.class_names)):
        predictions = [read_predictions(member.batch(start, stop), member.name) for member in members]
        first = 0
        for labels_batch, ignored in labels.read_batch(start, stop, ignore):
            part = slice(first, first + len(labels_batch))
            yield condense_images(
                labels_batch,
                [image_at(one, part) for one in predictions],
                settings.condense_config,
                ignored,
                settings.members,
                methods,
            )
            first = part.stop


def _batch_ranges(images: LabelImages, classes: int) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) of images of one shape that are condensed together."""
    start = 0
    while start < len(images):
        shape = images.shape(start)
        stop = start + next(image_groups(len(images) - start, math.prod(shape), classes)).stop
        if not images.one_shape:
            stop = next((i for i in range(start + 1, stop) if images.shape(i) != shape), stop)
        yield start, stop
        start = stop


@dataclass(frozen=True)
class BatchCounts:
    """Counts over evidence in memory (`EvidenceCounter`)."""

    batches: Sequence[CondensedImages]
    classes: int

    def count_confident(self, limits: Mapping[Encoding, NDArray[np.int64]]) -> int:
        """Count the confident pixels, with limits (K,) as codes by encoding."""
        (codes,) = limits.values()
        return sum(count_confident_pixels(batch.scored_labels, batch.planes, codes) for batch in self.batches)

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        """Count the float32 self-confidences whose upper 16 bits are ``key``, by their lower 16 bits."""
        counts = np.zeros(1 << 16, np.int64)
        for batch in self.batches:
            counts += count_low_bits(batch.scored_labels, batch.planes.self_confidence, self.classes, key)
        return counts


def scoring_input(
    config: RunConfig,
    codes: ThresholdCodes,
    classes: int,
    labels: NDArray[np.unsignedinteger],
    planes: EvidencePlanes,
    summary: ImageSummary | None = None,
) -> ScoringInput:
    """Return what the scores of images (n, H, W) are computed from."""
    return ScoringInput(
        labels,
        planes.predicted_class,
        planes.self_confidence,
        planes.predicted_confidence,
        classes,
        codes.encoding,
        codes,
        config.clc.rule,
        summary=summary,
    )


def score_batches(
    config: RunConfig,
    class_names: Sequence[str],
    codes: ThresholdCodes,
    batches: Sequence[CondensedImages],
    ids: Sequence[str],
    first: int = 0,
) -> tuple[pa.Table, bytes, PairCounts]:
    """Score condensed images.

    Args:
        config: Settings of the audit.
        class_names: Names of the classes.
        codes: Thresholds of the data set.
        batches: The images.
        ids: Their ids.
        first: Index of the first image in the data set.

    Returns:
        The table of images (`scored_images_schema`), the packed tables of regions, and the flagged class pairs.
    """
    sizes = np.repeat([batch.labels.shape[1:] for batch in batches], [len(batch) for batch in batches], axis=0)
    facts = {
        "image_id": ids,
        "source": [SOURCE] * len(sizes),
        "index": first + np.arange(len(sizes)),
        "height": sizes[:, 0],
        "width": sizes[:, 1],
    }
    tables = ScoreTables(config.make_methods(), codes, config.regions.min_area, class_names, facts)
    for batch in batches:
        images = scoring_input(config, codes, len(class_names), batch.scored_labels, batch.planes, batch.summary)
        tables.add(images, np.full((len(batch), 2), batch.labels.shape[1:]))
    images_table, packed = tables.finish([status for batch in batches for status in batch.statuses])
    return images_table, packed, tables.pairs


def compare_packed_regions(packed: bytes, statistics: ClassStatistics, pairs: PairCounts) -> pa.Table:
    """Return the regions of `score_batches`, compared with the data set that has these statistics and pairs."""
    totals = PairTotals.from_statistics(statistics, pairs.evidence_sums)
    empty = unranked_regions_schema().empty_table()
    return join_tables([empty, *(compare_regions(table, totals) for table in iter_packed_tables(packed))])


def image_ranking(config: RunConfig) -> results.ImageRanking:
    """Return the ranking of the images."""
    return results.ImageRanking(config.score_methods, (), config.rank_by)


def complete_images(tables: Sequence[pa.Table], regions: Sequence[pa.Table], config: RunConfig) -> pa.Table:
    """Return the table of all images.

    Args:
        tables: Tables of images of `score_batches`, in order.
        regions: Regions of these images, from `compare_packed_regions`.
        config: Settings of the audit.

    Returns:
        The table, with the columns that compare images or follow from regions.
    """
    by = REGION_ORDERS[config.regions.rank_by]
    images = add_transforms(join_tables(tables))
    images = add_worst_regions(images, [worst_regions(one, by) for one in regions])
    if COMBINED in config.methods:
        return results.combine_in_memory(images, image_ranking(config))[0]
    return results.finish_images(images, image_ranking(config))
