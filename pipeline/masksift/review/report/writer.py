"""The files of the page: facts as calls of its program, which open from a disk where nothing may be fetched."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from masksift.engine.planning.report_plan import IMAGES_PER_FILE, PAGE, REGION_IMAGES_PER_FILE, REPORT
from masksift.review.report.regions import ImageRegions
from masksift.review.report.selection import SelectedImage
from masksift.review.report.tasks import RenderedImage, image_file
from masksift.storage.objects import ObjectDirectory

DATA, PICTURES = "data", "pictures"
AT_ONCE = 16
"""Objects that are removed at a time."""
_DIGITS = 6
"""Decimals of a score."""
_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""A name may hold markup: so that no reader of the file takes it for such."""


def script_call(name: str, *values: Any) -> bytes:
    """A call of the page's program with values as JSON: ASCII alone, and nothing in it that HTML knows."""
    text = ", ".join(json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values)
    for sign, escaped in _ESCAPED.items():
        text = text.replace(sign, escaped)
    return f"masksift.{name}({text});\n".encode()


def rows_file(
    chosen: Sequence[SelectedImage],
    drawn: Sequence[RenderedImage],
    found: Sequence[ImageRegions],
    sources: Mapping[str, int],
    columns: Sequence[str],
    methods: Sequence[str],
) -> dict[str, Any]:
    """Some rows, column by column; ``sources``: their numbers by name."""
    return {
        "rank": [one.rank for one in chosen],
        "image_id": [one.image_id for one in chosen],
        "source": [sources[one.source] for one in chosen],
        "index": [one.index for one in chosen],
        "status": [one.status for one in chosen],
        "reason": [one.reason for one in chosen],
        "columns": {name: [one.columns[name] for one in chosen] for name in columns},
        "scores": {name: [_rounded(one.scores.get(name)) for one in chosen] for name in methods},
        **{
            name: [getattr(one, name) for one in drawn]
            for name in ("flagged", "pair", "size", "view_size", "picture", "planes", "classes")
        },
        "regions": [len(one.regions) for one in found],
        "pairs": [one.pairs for one in found],
        "warnings": [
            [why for why in image.warnings if why != one.reason] for one, image in zip(chosen, drawn, strict=True)
        ],
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, _DIGITS)


def regions_file(found: Sequence[ImageRegions]) -> list[Any]:
    """The regions of some rows."""
    return [one.regions for one in found]


def remove_page(folder: ObjectDirectory) -> None:
    """Take away the page itself: while it is not there, what lies beside it may be of two reports."""
    if PAGE.rpartition("/")[2] in folder.names(REPORT):
        folder.remove(PAGE)


def write_page(
    folder: ObjectDirectory,
    facts: Mapping[str, Any],
    chosen: Sequence[SelectedImage],
    drawn: Sequence[RenderedImage],
    found: Sequence[ImageRegions],
    methods: Sequence[str],
) -> None:
    """Put all files but the pictures, the page itself last, and remove what is left of an earlier report."""
    numbers = {name: number for number, name in enumerate(facts["sources"])}
    names = {"run.js"}
    for number, some in enumerate(_runs(len(chosen), IMAGES_PER_FILE)):
        told = rows_file(chosen[some], drawn[some], found[some], numbers, facts["columns"], methods)
        names.add(_put(folder, f"rows-{number:05d}.js", script_call("rows", number, told)))
    for number, some in enumerate(_runs(len(chosen), REGION_IMAGES_PER_FILE)):
        names.add(_put(folder, f"regions-{number:05d}.js", script_call("regions", number, regions_file(found[some]))))
    _put(folder, "run.js", script_call("run", facts))
    _remove_others(folder, DATA, names)
    endings = {"jpg": [one.number for one in drawn if one.picture], "png": [one.number for one in drawn if one.planes]}
    _remove_others(
        folder, PICTURES, {image_file(n, ending).rpartition("/")[2] for ending, some in endings.items() for n in some}
    )
    static = (resources.files("masksift.review.report") / "static").iterdir()
    for file in sorted(static, key=lambda file: (file.name == "index.html", file.name)):
        folder.write(f"{REPORT}/{file.name}", file.read_bytes())


def _runs(count: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, count, size))


def _put(folder: ObjectDirectory, name: str, data: bytes) -> str:
    folder.write(f"{REPORT}/{DATA}/{name}", data)
    folder.io_counters["bytes_written"] += len(data)
    return name


def _remove_others(folder: ObjectDirectory, place: str, names: Collection[str]) -> None:
    """Remove what lies there under other names."""
    others = [name for name in folder.names(f"{REPORT}/{place}") if name not in names]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remove") as pool:
        list(pool.map(lambda name: folder.remove(f"{REPORT}/{place}/{name}"), others))
