"""Schemas of the result tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec

THRESHOLDS = pa.schema(
    [
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),  # n_k: valid pixels with this label
        pa.field("sum", pa.float64(), nullable=False),  # S_k: sum of their self-confidence
        pa.field("confident_threshold", pa.float64()),  # t_k; null if no pixel has this label
        pa.field("decision_threshold", pa.float64()),  # tau_k of tccp; null likewise
        pa.field("ignored_share", pa.float64(), nullable=False),  # r_k of omission
    ]
)

CLASS_PAIRS = pa.schema(
    [
        pa.field("given", pa.int32(), nullable=False),
        pa.field("suggested", pa.int32(), nullable=False),
        pa.field("given_name", pa.string(), nullable=False),
        pa.field("suggested_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),  # flagged pixels, most first
        pa.field("images", pa.int64(), nullable=False),  # images that hold any of them
    ]
)

CLASS_QUALITY = pa.schema(
    [
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("flagged", pa.int64(), nullable=False),
        pa.field("quality", pa.float64()),  # 1 - flagged / pixels; null if no pixel has this label
    ]
)

MEASURES = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),  # or `issue_mask`, `self_confidence`: what ranks pixels
        pa.field("measure", pa.string(), nullable=False),
        pa.field("at", pa.string()),  # `100`, `5%`, `errors` images; a least IoU; null where it has no such place
        pa.field("value", pa.float64()),  # null where there is none: the note says why
        pa.field("low", pa.float64()),  # of the bootstrap interval over images, 95 %
        pa.field("high", pa.float64()),
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # what is to be found: images, pixels or regions
        pa.field("note", pa.string()),
    ]
)

CURVES = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),
        pa.field("effort", pa.float64(), nullable=False),  # share of the ranked images that are reviewed
        pa.field("recall", pa.float64(), nullable=False),  # share of the errors found among them
        pa.field("precision", pa.float64(), nullable=False),  # share of errors among them
    ]
)

SWEEP = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # error type
        pa.field("share", pa.float64(), nullable=False),  # of the images that were chosen to get one
        pa.field("method", pa.string(), nullable=False),
        pa.field("temperature", pa.float64()),  # of softmin; null of all others
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # those of them whose labels are wrong
        pa.field("auroc", pa.float64()),  # null, as all that follow, where there is none: the note says why
        pa.field("auprc", pa.float64()),  # average precision
        pa.field("kendall_tau", pa.float64()),  # of 1 - score and the share of wrong pixels
        pa.field("at", pa.string(), nullable=False),  # how many images are reviewed: `errors`, `100`, `5%`
        pa.field("precision", pa.float64()),  # errors among them, over these images
        pa.field("lift", pa.float64()),  # precision over the share of errors in all
        pa.field("recall", pa.float64()),  # errors among them, over all errors
        pa.field("note", pa.string()),
    ]
)

WORST_REGION = pa.schema(
    [
        pa.field("region_y0", pa.int32()),  # box of the region with most evidence; null where there is none
        pa.field("region_x0", pa.int32()),
        pa.field("region_y1", pa.int32()),
        pa.field("region_x1", pa.int32()),
        pa.field("region_evidence", pa.float64()),
    ]
)


def images_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the images table: one row per image, in the order of the sources.

    Args:
        methods: Names of scores, which become float64 columns, null for an image without a score.
        columns: Names of partition columns (text), null for a source whose path has no such part.

    Returns:
        The schema.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("valid_pixels", pa.int64()),  # null, like all that follows the reason, where it is not scored
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            *(pa.field(name, pa.float64()) for name in methods),
            pa.field("flagged_pixels", pa.int64()),
            pa.field("worst_given", pa.int32()),  # class pair with the most flagged pixels
            pa.field("worst_suggested", pa.int32()),
            pa.field("worst_pixels", pa.int64()),
            *WORST_REGION,
        ]
    )


def regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the regions table: one row per region, most evidence first."""
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),  # `label`: flagged pixels; `omission`: ignored ones
            pa.field("given", pa.int32()),  # null of an omission
            pa.field("suggested", pa.int32(), nullable=False),
            pa.field("given_name", pa.string()),
            pa.field("suggested_name", pa.string(), nullable=False),
            pa.field("area", pa.int64(), nullable=False),  # pixels
            pa.field("y0", pa.int32(), nullable=False),  # box: rows [y0, y1), columns [x0, x1)
            pa.field("x0", pa.int32(), nullable=False),
            pa.field("y1", pa.int32(), nullable=False),
            pa.field("x1", pa.int32(), nullable=False),
            pa.field("centroid_y", pa.float64(), nullable=False),
            pa.field("centroid_x", pa.float64(), nullable=False),
            pa.field("evidence", pa.float64(), nullable=False),  # sum of m - s; of an omission, of m beyond r
            pa.field("mean_self_confidence", pa.float64()),  # null of an omission
            pa.field("mean_predicted_confidence", pa.float64(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),  # of the image that the run-length code is of
            pa.field("width", pa.int32(), nullable=False),
            pa.field("rle", pa.list_(pa.int32()), nullable=False),  # COCO's counts, not compressed
        ]
    )


def unranked_regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of regions before they are ranked."""
    return regions_schema(columns).remove(0)


def truth_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of known errors: one row per image with an error in its labels."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("classes", pa.list_(pa.int32()), nullable=False),  # that the error was drawn for
            pa.field("given", pa.int32()),  # the class that most changed pixels have now; null where they have no label
            pa.field("true", pa.int32()),  # the class that all of them had; null where they had several
            pa.field("changed_pixels", pa.int64(), nullable=False),
            pa.field("changed_share", pa.float64(), nullable=False),  # of the pixels that were valid
            pa.field("y0", pa.int32(), nullable=False),  # box of the changed pixels: rows [y0, y1), columns [x0, x1)
            pa.field("x0", pa.int32(), nullable=False),
            pa.field("y1", pa.int32(), nullable=False),
            pa.field("x1", pa.int32(), nullable=False),
        ]
    )


def ranked_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of the images table that the ranking contains, too."""
    every = images_schema(methods, columns)
    return pa.schema(
        [every.field(name) for name in ("image_id", "source", "index", *columns, *methods)] + [*WORST_REGION]
    )


def ranking_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the ranking: one row per scored image, the first to review on top."""
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("percentile", pa.float64(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("ranked_by", pa.string(), nullable=False),
            pa.field("score", pa.float64(), nullable=False),  # the score ranked by
            *(pa.field(name, pa.float64()) for name in methods),
            *WORST_REGION,
        ]
    )


def hive_columns(sources: Sequence[SourceSpec], methods: Sequence[str]) -> tuple[str, ...]:
    """Return the partition columns of a run's tables. A name that the results use raises DataError."""
    taken = (images_schema(methods), ranking_schema(methods), regions_schema())
    return path_columns(sources, {name for schema in taken for name in schema.names})


def path_columns(sources: Sequence[SourceSpec], taken: Collection[str]) -> tuple[str, ...]:
    """Return the partition columns of sources, by their paths.

    Args:
        sources: The sources.
        taken: Names of other columns.

    Returns:
        The names of the columns.

    Raises:
        DataError: A name is taken.
    """
    columns = tuple(dict.fromkeys(key for source in sources for key in source.partitions))
    for source in sources:
        for key, value in source.partitions.items():
            if key in taken:
                raise DataError(
                    f"the part {key}={value} of {source.url} would be a column {key!r}, which the results have already",
                    "two columns of one name cannot be told apart",
                    "Rename that part of the path",
                )
    return columns
