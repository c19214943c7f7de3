"""Schemas of the result tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec

SOURCES = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("height", pa.int64(), nullable=False),
        pa.field("width", pa.int64(), nullable=False),
        pa.field("first_block", pa.int64(), nullable=False),
        pa.field("blocks", pa.int64(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("spec", pa.string(), nullable=False),  # JSON texts, because the fields differ by the kind of source
        pa.field("location", pa.string(), nullable=False),
        pa.field("layout", pa.string(), nullable=False),
    ]
)

AGREEMENT_COLUMNS = (
    ("agreement_center", "agreement_spread"),
    ("label_agreement_center", "label_agreement_spread"),
)
"""Columns of the usual agreement of a class on the sides of predictions and of labels."""

THRESHOLDS = pa.schema(
    [
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),  # n_k: valid pixels with this label
        pa.field("predicted_pixels", pa.int64(), nullable=False),  # valid pixels predicted as this class
        pa.field("sum", pa.float64(), nullable=False),  # S_k: sum of their self-confidence
        pa.field("confident_threshold", pa.float64()),  # t_k; null if no pixel has this label
        pa.field("decision_threshold", pa.float64()),  # tau_k of tccp; null likewise
        pa.field("ignored_share", pa.float64(), nullable=False),  # r_k of omission
        # of class_agreement: center and spread of the log-odds; null if fewer than 5 images have enough of the class
        *(pa.field(name, pa.float64()) for names in AGREEMENT_COLUMNS for name in names),
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
        pa.field("evidence", pa.float64(), nullable=False),  # sum of m - s over them
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

PLACE_KNOTS = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),  # one of those that `combined` combines
        pa.field("value", pa.float64(), nullable=False),  # ascending
        pa.field("place", pa.float64(), nullable=False),  # rank over ranked images + 1, of ties the mean
    ]
)

MEASURES = pa.schema(
    [
        # or `issue_mask`, `self_confidence`, which rank pixels, or an order of regions: `regions by priority`
        pa.field("score", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        # `100`, `5%`, `errors` images, a number of regions, or a least IoU; null for whole rankings
        pa.field("at", pa.string()),
        pa.field("value", pa.float64()),  # null if undefined: the note gives the reason
        pa.field("low", pa.float64()),  # bounds of the 95% bootstrap interval over images
        pa.field("high", pa.float64()),
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # known errors: images, pixels or regions
        pa.field("note", pa.string()),
    ]
)

CURVES = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),
        pa.field("effort", pa.float64(), nullable=False),  # reviewed share of the ranked images or listed regions
        pa.field("recall", pa.float64(), nullable=False),  # share of all errors among the reviewed
        pa.field("precision", pa.float64(), nullable=False),  # share of errors among the reviewed
    ]
)

SWEEP = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # error type
        pa.field("share", pa.float64(), nullable=False),  # of the images selected for an error
        pa.field("method", pa.string(), nullable=False),
        pa.field("temperature", pa.float64()),  # of softmin, also in combined; null for other scores
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # ranked images with wrong labels
        pa.field("auroc", pa.float64()),  # this and all below: null if undefined, with the reason in the note
        pa.field("auprc", pa.float64()),  # average precision
        pa.field("kendall_tau", pa.float64()),  # between 1 - score and the share of wrong pixels
        pa.field("at", pa.string(), nullable=False),  # number of reviewed images: `errors`, `100`, `5%`
        pa.field("precision", pa.float64()),  # errors among the reviewed images, over reviewed images
        pa.field("lift", pa.float64()),  # precision over the share of errors in all images
        pa.field("recall", pa.float64()),  # errors among the reviewed images, over all errors
        pa.field("note", pa.string()),
    ]
)

SWEEP_REGIONS = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # error type
        pa.field("share", pa.float64(), nullable=False),  # of the images selected for an error
        pa.field("score", pa.string(), nullable=False),  # order of regions: `regions by priority`
        pa.field("measure", pa.string(), nullable=False),
        pa.field("at", pa.string()),  # number of reviewed regions; null for the whole list
        pa.field("value", pa.float64()),  # null if undefined: the note gives the reason
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("regions", pa.int64(), nullable=False),  # listed regions
        pa.field("errors", pa.int64(), nullable=False),  # true positives among them
        pa.field("note", pa.string()),
    ]
)

WORST_CLASS = pa.schema(
    [
        pa.field("worst_class", pa.int32()),  # class with the agreement furthest below the usual one; null if none is
        pa.field("worst_class_z", pa.float64()),  # how far below the usual agreement, in spreads
    ]
)

TRANSFORM = pa.schema(
    [
        pa.field("suspected_transform", pa.string()),  # by which the labels seem misplaced as a whole; null if none is
        pa.field("transform_gain", pa.float64()),  # share of the valid cells that agree only with it
    ]
)

WORST_REGION_COLUMNS = pa.schema(
    [
        pa.field("region_y0", pa.int32()),  # box of the first region by `regions.rank_by`; null without regions
        pa.field("region_x0", pa.int32()),
        pa.field("region_y1", pa.int32()),
        pa.field("region_x1", pa.int32()),
        pa.field("region_priority", pa.float64()),
        pa.field("region_evidence", pa.float64()),
    ]
)


REGION_ORDERS = {"priority": "priority", "class": "class_priority", "evidence": "evidence"}
"""Columns of the regions table by which regions can be ranked, highest first, by the value of `regions.rank_by`."""


def images_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the images table: one row per image, in the order of the sources.

    Args:
        methods: Names of scores, which become float64 columns, null for an image without a score.
        columns: Names of partition columns (text), null for a source whose path lacks the component.

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
            pa.field("valid_pixels", pa.int64()),  # null for an image without scores, like all columns after reason
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            *(pa.field(name, pa.float64()) for name in methods),
            pa.field("flagged_pixels", pa.int64()),
            pa.field("worst_given", pa.int32()),  # class pair with the most flagged pixels
            pa.field("worst_suggested", pa.int32()),
            pa.field("worst_pixels", pa.int64()),
            *WORST_CLASS,
            *TRANSFORM,
            *WORST_REGION_COLUMNS,
        ]
    )


def regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the regions table: one row per region, the first to review on top."""
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),  # `label`: flagged pixels; `omission`: ignored ones
            pa.field("given", pa.int32()),  # null for an omission
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
            pa.field("priority", pa.float64(), nullable=False),  # evidence against the usual one of the class pair
            pa.field("class_priority", pa.float64(), nullable=False),  # priority times 1 + hypot(given_z, suggested_z)
            pa.field("evidence", pa.float64(), nullable=False),  # sum of m - s; for an omission, of m - r
            pa.field("usual_evidence", pa.float64(), nullable=False),  # of the class pair, by the other images
            pa.field("mean_self_confidence", pa.float64()),  # null for an omission
            pa.field("mean_predicted_confidence", pa.float64(), nullable=False),
            # how far the agreement of these classes in the image is below the usual one, in spreads
            pa.field("given_z", pa.float64()),  # null for an omission
            pa.field("suggested_z", pa.float64(), nullable=False),
            pa.field("given_pixels", pa.int64()),  # valid pixels of the image with this label; null for an omission
            pa.field("suggested_pixels", pa.int64(), nullable=False),  # valid pixels of the image predicted so
            pa.field("height", pa.int32(), nullable=False),  # of the image, for rle
            pa.field("width", pa.int32(), nullable=False),
            pa.field("rle", pa.list_(pa.int32()), nullable=False),  # COCO counts, uncompressed
        ]
    )


def unranked_regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of regions before they are ranked."""
    return regions_schema(columns).remove(0)


def scored_regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of regions before they are compared with the whole data set.

    Priorities are those that the regions would have if their class pair occurred nowhere else.
    """
    fields = [field for field in unranked_regions_schema(columns) if field.name != "usual_evidence"]
    return pa.schema([*fields, pa.field("pair_evidence", pa.float64(), nullable=False)])  # of the pair in the image


def scored_images_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of images before they are compared with their neighbors and the whole data set."""
    later = {*TRANSFORM.names, *WORST_REGION_COLUMNS.names}
    fields = [field for field in images_schema(methods, columns) if field.name not in later]
    return pa.schema([*fields, pa.field("grids", pa.large_binary(), nullable=False)])  # labels and predicted classes


def reranked_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the regions that remain to be reviewed, in the order learned from decisions."""
    regions = unranked_regions_schema(columns)
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("old_rank", pa.int64(), nullable=False),
            pa.field("probability", pa.float64()),  # of a wrong label; null with too few decisions
            pa.field("decision", pa.string()),  # `unsure`, or null
            *(field for field in regions if field.name != "rle"),
        ]
    )


def truth_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of known errors: one row per image with an error in its labels."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("classes", pa.list_(pa.int32()), nullable=False),  # classes the error was drawn for
            pa.field("given", pa.int32()),  # present class of most changed pixels; null if they have no label
            pa.field("true", pa.int32()),  # former class of all changed pixels; null if they had several
            pa.field("changed_pixels", pa.int64(), nullable=False),
            pa.field("changed_share", pa.float64(), nullable=False),  # of the valid pixels
            pa.field("y0", pa.int32(), nullable=False),  # box of the changed pixels: rows [y0, y1), columns [x0, x1)
            pa.field("x0", pa.int32(), nullable=False),
            pa.field("y1", pa.int32(), nullable=False),
            pa.field("x1", pa.int32(), nullable=False),
        ]
    )


def ranked_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """Return the columns that the images table shares with the ranking."""
    every = images_schema(methods, columns)
    return pa.schema(
        [every.field(name) for name in ("image_id", "source", "index", *columns, *methods)]
        + [*WORST_CLASS, *TRANSFORM, *WORST_REGION_COLUMNS]
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
            *WORST_CLASS,
            *TRANSFORM,
            *WORST_REGION_COLUMNS,
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
                    f"The path component {key}={value} of {source.url} would become a column {key!r}, which "
                    "the results already have",
                    "Rename that component of the path",
                )
    return columns
