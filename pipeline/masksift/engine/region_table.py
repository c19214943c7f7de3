"""Table rows of regions: collected while images are scored, then compared with the whole data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from masksift.core.status import SCORED
from masksift.engine.planning.requests import PACKED_REGION_ROWS
from masksift.scoring.kernels.regions import Regions
from masksift.scoring.methods import WORST_REGION
from masksift.scoring.methods.base import EVIDENCE_UNIT, ScoringInput
from masksift.scoring.region_priority import (
    OMISSION_SELF_CONFIDENCE,
    PairTotals,
    max_image_regions,
    priority_alone,
    region_scores,
)
from masksift.storage.tables.arrow import list_array, table_from_columns, take
from masksift.storage.tables.schemas import WORST_REGION_COLUMNS, scored_regions_schema, unranked_regions_schema
from masksift.storage.tables.segments import join_tables, pack_table

LABEL, OMISSION = "label", "omission"
"""Kinds of regions: flagged pixels, and ignored pixels that are confidently predicted as a class."""


class RegionTableBuilder:
    """Collect the regions of images in order, of each image at most `max_image_regions`.

    Of an image with more, those stay whose priority would be highest if their class pair occurred nowhere else.

    Args:
        class_names: Names of the classes.
        images: Columns of all images by number: image_id, source, index, height, width, and ``path_columns``.
        path_columns: Names of partition columns; null where ``images`` lacks one.
    """

    def __init__(self, class_names: Sequence[str], images: Mapping[str, Any], path_columns: Sequence[str] = ()) -> None:
        self._class_names, self._images, self._path_columns = class_names, images, path_columns
        self._schema = scored_regions_schema(path_columns)
        self._regions: list[Regions] = []
        self._facts: list[dict[str, NDArray[Any]]] = []
        self._packed = bytearray()

    def add(self, regions: Regions, images: ScoringInput, sizes: NDArray[np.int64], first_image: int) -> None:
        """Add the regions of images with (height, width) ``sizes`` (n, 2), the first of which is ``first_image``."""
        if not len(regions):
            return
        counts, limits = np.bincount(regions.image, minlength=len(sizes)), max_image_regions(sizes.prod(axis=1))
        if (counts > limits).any():
            regions = regions.take(_highest(regions.image, _priorities_alone(regions, images.classes), limits))
        self._facts.append(_image_facts(regions, images))
        self._regions.append(replace(regions, image=regions.image + first_image))
        if sum(map(len, self._regions)) >= PACKED_REGION_ROWS:
            self._pack()

    def finish(self) -> bytes:
        """Return the regions in the order of the images and of their corners: tables, as `pack_table` packs them.

        The regions of an image are in one table.
        """
        if self._regions:
            self._pack()
        return bytes(self._packed)

    def _pack(self) -> None:
        regions, images = Regions.concatenate(self._regions), self._images
        columns = {
            name: take(images[name], regions.image) if name in images else [None] * len(regions)
            for name in ("image_id", "source", "index", *self._path_columns, "height", "width")
        }
        facts = {name: np.concatenate([group[name] for group in self._facts]) for name in self._facts[0]}
        columns |= _region_columns(regions, facts, self._class_names)
        self._packed += pack_table(table_from_columns(columns, self._schema))
        self._regions, self._facts = [], []


def _priorities_alone(regions: Regions, classes: int) -> NDArray[np.float64]:
    """Return the priority of each region if its class pair occurred nowhere else."""
    own = np.where(regions.given == classes, OMISSION_SELF_CONFIDENCE, regions.self_confidence)
    return priority_alone(regions.evidence, own, regions.predicted_confidence)


def _highest(groups: NDArray[np.int64], values: NDArray[np.float64], limits: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the positions of the ``limits[g]`` highest values of each group g, ascending; ``groups`` ascend."""
    counts = np.bincount(groups, minlength=len(limits))
    order = np.lexsort((-values, groups))
    place = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[place < limits[groups]])


def _image_facts(regions: Regions, images: ScoringInput) -> dict[str, NDArray[Any]]:
    """Return columns of regions, (R,) each, about the classes of a region in its image; 0 for the class of no label."""
    image, suggested, is_label = regions.image, regions.suggested, regions.given < images.classes
    given = regions.given * is_label
    return {
        "given_z": images.z_scores[image, 1, given] * is_label,
        "suggested_z": images.z_scores[image, 0, suggested],
        "given_pixels": images.class_counts.labeled[image, given],
        "suggested_pixels": images.class_counts.predicted[image, suggested],
        "pair_evidence": images.flagged_evidence[image, given, suggested] * (float(EVIDENCE_UNIT) * is_label),
    }


def _region_columns(regions: Regions, facts: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of `scored_regions_schema` that do not come from the image, with those of `_image_facts`."""
    alone, is_omission = _priorities_alone(regions, len(class_names)), regions.given == len(class_names)

    def labels_only(values: NDArray[Any]) -> NDArray[Any]:
        return np.ma.MaskedArray(values, is_omission)

    names = [*class_names, None]
    return {
        **facts,
        "kind": np.where(is_omission, OMISSION, LABEL),
        "given": labels_only(regions.given),
        "suggested": regions.suggested,
        "given_name": take(names, regions.given),
        "suggested_name": take(names, regions.suggested),
        "area": regions.area,
        **dict(zip(("y0", "x0", "y1", "x1"), regions.box.T, strict=True)),
        **dict(zip(("centroid_y", "centroid_x"), regions.centroid.T, strict=True)),
        "priority": alone,
        "class_priority": alone * (1 + np.hypot(facts["suggested_z"], facts["given_z"])),
        "evidence": regions.evidence,
        "mean_self_confidence": labels_only(regions.self_confidence),
        "mean_predicted_confidence": regions.predicted_confidence,
        "given_z": labels_only(facts["given_z"]),
        "given_pixels": labels_only(facts["given_pixels"]),
        "rle": list_array(regions.run_lengths, regions.run_ends),
    }


def compare_regions(regions: pa.Table, totals: PairTotals, path_columns: Sequence[str] = ()) -> pa.Table:
    """Compare scored regions with the whole data set: divide their priorities by sqrt(1 + usual evidence).

    The usual evidence of an omission is 0: its evidence already leaves out the usual share of its class.

    Args:
        regions: Table of `scored_regions_schema`.
        totals: Totals of the data set.
        path_columns: Names of partition columns.

    Returns:
        Table of `unranked_regions_schema`.
    """
    is_label = regions["given"].is_valid().to_numpy()
    given, pixels = (regions[name].fill_null(0).to_numpy() for name in ("given", "given_pixels"))
    suggested, own, predicted = (
        regions[name].to_numpy() for name in ("suggested", "pair_evidence", "suggested_pixels")
    )
    usual = np.where(is_label, totals.usual_evidence(given, suggested, own, pixels, predicted), 0.0)
    columns = {name: regions[name] for name in regions.schema.names}
    columns |= {name: regions[name].to_numpy() / np.sqrt(1 + usual) for name in ("priority", "class_priority")}
    columns["usual_evidence"] = usual
    schema = unranked_regions_schema(path_columns)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def worst_regions(regions: pa.Table, by: str) -> pa.Table:
    """Return the worst region of each image that has any.

    Args:
        regions: Regions of images of one source, by image.
        by: Column of the regions that is highest for the worst one; of equal ones the first counts.

    Returns:
        The index of the image, the columns of `WORST_REGION_COLUMNS`, and the score `WORST_REGION`, to which regions of
        ignored pixels do not count.
    """
    image = regions["index"].to_numpy()
    order = np.lexsort((-regions[by].to_numpy(), image))
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    names = [field.name.removeprefix("region_") for field in WORST_REGION_COLUMNS]
    found = regions.select(["index", *names]).take(order[starts]).rename_columns(["index", *WORST_REGION_COLUMNS.names])
    priorities = np.where(regions["given"].is_valid().to_numpy(), regions["priority"].to_numpy(), 0.0)
    highest = np.maximum.reduceat(priorities, np.flatnonzero(np.diff(image, prepend=-1))) if len(image) else priorities
    return found.append_column(WORST_REGION, pa.array(region_scores(highest)))


def add_worst_regions(images: pa.Table, worst: Sequence[pa.Table]) -> pa.Table:
    """Append the columns of `WORST_REGION_COLUMNS` and the score `WORST_REGION` to consecutive images of one source.

    Args:
        images: The table.
        worst: Results of `worst_regions` for parts of the images, in order.

    Returns:
        The table with these columns.
    """
    columns, position = list(images.columns), np.full(len(images), -1)
    if worst:
        found = join_tables(worst)
        position[found["index"].to_numpy() - images["index"][0].as_py()] = np.arange(len(found))
    rows = pa.array(position, mask=position < 0)
    columns += [
        found[field.name].take(rows) if worst else pa.nulls(len(images), field.type) for field in WORST_REGION_COLUMNS
    ]
    none = np.ones(len(images))
    scores = pc.fill_null(found[WORST_REGION].take(rows), 1.0).to_numpy() if worst else none
    columns.append(pa.array(scores, mask=images["status"].to_numpy() != SCORED))
    schema = pa.schema([*images.schema, *WORST_REGION_COLUMNS, pa.field(WORST_REGION, pa.float64())])
    return pa.table(columns, schema=schema)
