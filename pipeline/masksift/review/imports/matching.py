"""Find the images of a run that the images of a file are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from masksift.annotations.shapes import ShapeLabels
from masksift.core import signals
from masksift.core.errors import DataError
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ImageKey
from masksift.review.file_names import IMAGES_FILE, FileNames, without_extension
from masksift.review.imports.reviewed import ReviewedImage
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import iter_tables


def find_images(
    images: Sequence[ReviewedImage], run: CompletedRun, exported: str | None, options: Mapping[str, Any]
) -> list[ImageKey]:
    """Find source and index of each image.

    In this order they are taken from the file itself, from ``images.csv`` of the export, from the ranks of the image's
    regions, and from its name.

    Args:
        images: Images of a file.
        run: The run that was exported.
        exported: URL of the export, or None.
        options: Storage options.

    Returns:
        The keys, in the order of the images.

    Raises:
        DataError: An image is not one of the run, several are the same one, or its name fits several.
    """
    keys: list[ImageKey | None] = [image.key for image in images]
    if None in keys and exported is not None:
        names = _exported_names(exported, options)
        keys = [key or _first(names, image) for key, image in zip(keys, images, strict=True)]
    if None in keys:
        by_rank = _keys_of_ranks([image for image, key in zip(images, keys, strict=True) if key is None], run)
        keys = [key or _key_of_regions(image, by_rank) for key, image in zip(keys, images, strict=True)]
    if None in keys:
        by_name = _keys_of_names([image for image, key in zip(images, keys, strict=True) if key is None], run)
        keys = [key or _unique(by_name, image, run) for key, image in zip(keys, images, strict=True)]
    found = [key for key in keys if key is not None]
    _check(images, found, run)
    return found


def _exported_names(exported: str, options: Mapping[str, Any]) -> dict[str, ImageKey]:
    data = ObjectDirectory(exported, options).read(IMAGES_FILE)
    if data is None:
        raise DataError(f"{exported} has no {IMAGES_FILE}", "Pass the directory that `masksift export` wrote")
    try:
        rows = csv.DictReader(io.StringIO(data.decode()))
        return {row["name"]: (row["source"], int(row["index"])) for row in rows}
    except (KeyError, ValueError, TypeError) as e:
        raise DataError(
            f"{exported}/{IMAGES_FILE} cannot be parsed ({type(e).__name__}: {e})", "Export the run again"
        ) from e


def _paths(name: str) -> Iterator[str]:
    """Yield the name without extension, then without its first directories one by one, which tools add."""
    parts = [part for part in without_extension(name.replace("\\", "/")).split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def _first(names: Mapping[str, ImageKey], image: ReviewedImage) -> ImageKey | None:
    return next((names[path] for path in _paths(image.name) if path in names), None)


def _ranks(image: ReviewedImage) -> set[int]:
    shapes = image.labels.shapes if isinstance(image.labels, ShapeLabels) else ()
    return {shape.rank for shape in shapes if shape.rank is not None}


def _keys_of_ranks(images: Sequence[ReviewedImage], run: CompletedRun) -> dict[int, ImageKey]:
    """Return the image of each rank that a shape of the images has."""
    wanted, found = set[int]().union(*map(_ranks, images)), dict[int, ImageKey]()
    if not wanted:
        return found
    for table in run.region_tables(("rank", "source", "index")):
        signals.raise_if_interrupted()
        rows = zip(*(table[name].to_pylist() for name in ("rank", "source", "index")), strict=True)
        found |= {rank: (source, index) for rank, source, index in rows if rank in wanted}
        if len(found) == len(wanted):
            break
    return found


def _key_of_regions(image: ReviewedImage, by_rank: Mapping[int, ImageKey]) -> ImageKey | None:
    """Return the image that the shapes' ranks name, None if they name none or contradict each other."""
    keys = {by_rank[rank] for rank in _ranks(image) if rank in by_rank}
    return keys.pop() if len(keys) == 1 else None


def _keys_of_names(images: Sequence[ReviewedImage], run: CompletedRun) -> dict[str, list[ImageKey]]:
    """Return the images of the run with the exported name of each wanted name."""
    wanted = {path for image in images for path in _paths(image.name)}
    found: dict[str, list[ImageKey]] = {}
    for table in iter_tables(run.directory, run.image_part_names, ["image_id", "source", "index"]):
        signals.raise_if_interrupted()
        rows = zip(*(table[name].to_pylist() for name in ("image_id", "source", "index")), strict=True)
        for image_id, source, index in rows:
            if (name := FileNames().name(image_id)) in wanted:
                found.setdefault(name, []).append((source, index))
    return found


def _unique(by_name: Mapping[str, Sequence[ImageKey]], image: ReviewedImage, run: CompletedRun) -> ImageKey:
    path = next((path for path in _paths(image.name) if path in by_name), None)
    if path is None:
        raise DataError(
            f"{image.name} is not the name of an image of {run.context.out}",
            "Pass the run that was exported as --run, and the directory that `masksift export` wrote as --exported DIR",
        )
    if len(by_name[path]) > 1:
        (first, i), (second, k) = by_name[path][:2]
        raise DataError(
            f"{image.name} is the name of {len(by_name[path])} images of {run.context.out}, such as image {i} of "
            f"{first} and {k} of {second}",
            "Pass the directory that `masksift export` wrote as --exported DIR",
        )
    return by_name[path][0]


def _check(images: Sequence[ReviewedImage], keys: Sequence[ImageKey], run: CompletedRun) -> None:
    """Raise DataError for a key that the run does not have, or that two images have."""
    first: dict[ImageKey, str] = {}
    for image, key in zip(images, keys, strict=True):
        source, index = key
        number = run.source_index.get(source)
        if number is None or not 0 <= index < run.tasks.sources[number].images:
            raise DataError(
                f"{image.name} is image {index} of {source}, which {run.context.out} does not have",
                "Pass the run that was exported as --run",
            )
        if key in first:
            raise DataError(
                f"{first[key]} and {image.name} are both image {index} of {source}",
                "Remove one of them from the file",
            )
        first[key] = image.name
