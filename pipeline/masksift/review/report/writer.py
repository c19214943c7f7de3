"""Write the files of the page: data as calls of its scripts, because a page opened from disk cannot fetch files."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from masksift.engine.planning.report_plan import IMAGES_PER_FILE, PAGE, REGION_IMAGES_PER_FILE, REPORT
from masksift.review.report.regions import ImageRegions
from masksift.review.report.selection import SelectedImage
from masksift.review.report.sheets import Sheet
from masksift.review.report.tasks import PICTURES, RenderedImage
from masksift.storage.objects import ObjectDirectory

DATA = "data"
MAX_CONCURRENT_REMOVALS = 16
_SCORE_DECIMALS = 6
_ESCAPES = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""Names may contain markup, which no reader of the file may interpret."""


def script_call(name: str, *values: Any) -> bytes:
    """Format a call of the page's scripts with JSON arguments, in ASCII without HTML special characters."""
    text = ", ".join(json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return f"masksift.{name}({text});\n".encode()


def rows_data(
    selected: Sequence[SelectedImage],
    rendered: Sequence[RenderedImage],
    regions: Sequence[ImageRegions],
    places: Mapping[int, tuple[int, ...]],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect rows of the page column by column.

    Args:
        selected: The images.
        rendered: Facts of the rendered images.
        regions: Their regions.
        places: Place of each image in its sheet, by row.
        summary: Content of `data/run.js`.

    Returns:
        The columns by name.
    """
    source_numbers = {name: number for number, name in enumerate(summary["sources"])}
    return {
        **{
            name: [getattr(image, name) for image in selected]
            for name in (
                "rank",
                "image_id",
                "index",
                "status",
                "reason",
                "flagged",
                "pair",
                "agrees_less",
                "misplaced",
            )
        },
        "source": [source_numbers[image.source] for image in selected],
        "columns": {name: [image.columns[name] for image in selected] for name in summary["columns"]},
        "scores": {name: [_rounded(image.scores.get(name)) for image in selected] for name in summary["methods"]},
        **{
            name: [getattr(image, name) for image in rendered]
            for name in ("size", "view_size", "picture", "planes", "classes")
        },
        "sheet": [places[image.number] for image in selected],
        "regions": [len(image.regions) for image in regions],
        "listed_regions": [image.listed for image in regions],
        "pairs": [image.class_pairs for image in regions],
        "warnings": [
            [warning for warning in image.warnings if warning != selection.reason]
            for selection, image in zip(selected, rendered, strict=True)
        ],
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, _SCORE_DECIMALS)


def remove_page(directory: ObjectDirectory) -> None:
    """Remove index.html: while it is missing, the other files may belong to two reports."""
    if PAGE.rpartition("/")[2] in directory.names(REPORT):
        directory.remove(PAGE)


def write_page(
    directory: ObjectDirectory,
    summary: Mapping[str, Any],
    sheets: Sequence[Sheet],
    selected: Sequence[SelectedImage],
    rendered: Sequence[RenderedImage],
    regions: Sequence[ImageRegions],
) -> None:
    """Write all files but the rendered images, index.html last, and remove those of an earlier report."""
    places = dict(place for sheet in sheets for place in sheet.places())
    files = {"run.js": script_call("run", summary)}
    for number, part in enumerate(_slices(len(selected), IMAGES_PER_FILE)):
        rows = rows_data(selected[part], rendered[part], regions[part], places, summary)
        files[f"rows-{number:05d}.js"] = script_call("rows", number, rows)
    for number, part in enumerate(_slices(len(selected), REGION_IMAGES_PER_FILE)):
        lists = [image.regions for image in regions[part]]
        files[f"regions-{number:05d}.js"] = script_call("regions", number, lists)
    for name, data in files.items():
        directory.write(f"{REPORT}/{DATA}/{name}", data)
        directory.io_counters["bytes_written"] += len(data)
    _remove_others(directory, DATA, files)
    _remove_others(directory, PICTURES, set(_sheet_files(sheets, rendered)))
    static = (resources.files("masksift.review.report") / "static").iterdir()
    for file in sorted(static, key=lambda file: (file.name == "index.html", file.name)):
        directory.write(f"{REPORT}/{file.name}", file.read_bytes())


def _sheet_files(sheets: Sequence[Sheet], rendered: Sequence[RenderedImage]) -> Iterator[str]:
    """Yield the names of the files of all sheets."""
    for sheet in sheets:
        images = [rendered[image.number] for image in sheet.images]
        yield from [sheet.file("jpg")] if any(image.picture for image in images) else []
        yield from [sheet.file("png")] if any(image.planes for image in images) else []


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, count, size))


def _remove_others(directory: ObjectDirectory, name: str, files: Collection[str]) -> None:
    """Remove the files of a report subdirectory that are not listed."""
    others = [file for file in directory.names(f"{REPORT}/{name}") if file not in files]
    with ThreadPoolExecutor(MAX_CONCURRENT_REMOVALS, thread_name_prefix="remove") as pool:
        list(pool.map(lambda file: directory.remove(f"{REPORT}/{name}/{file}"), others))
