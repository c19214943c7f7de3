"""Write report directories like those of `masksift report`, with any number of rows and classes and any names.

Only a few images are drawn; the files of the other rows are hard links to them.

    report = make_report(directory, ReportSpec(rows=60, names=("road", "sidewalk")))
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import masksift
from masksift.review.rendering.palette import class_colors, hex_colors

__all__ = ["NAMES", "RUN", "STATIC", "ReportSpec", "image_id", "make_regions", "make_report", "make_row", "script_call"]

NAMES = ("road", "sidewalk", "building", "sky", "car", "tree")
RUN = "0123456789abcdef" * 4
STATIC = Path(masksift.__file__).parent / "review" / "report" / "static"
ROWS_PER_FILE, REGIONS_PER_FILE = 1000, 200
HEIGHT, WIDTH = 96, 128
"""Size of the image files; the images of the data set have twice as many rows and columns."""
DISTINCT_IMAGES = 6
METHODS = ("softmin", "clc", "iou")
ISSUE = (255, 0, 200)
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class ReportSpec:
    """Content of a report: `rows` images, the last of them `quarantined`, from a run with `scored` images (default: all
    ranked rows), with up to `regions` regions each, to which the run's table adds `unshown_regions`. Files show `sheet`
    images each."""

    rows: int = 60
    quarantined: int = 0
    scored: int | None = None
    names: Sequence[str] = NAMES
    sources: Sequence[str] = ("north", "south")
    ids: Sequence[str] = ()
    columns: Sequence[str] = ("dt",)
    pictures: bool = True
    planes: str = "gpi"
    sheet: int = 1
    regions: int = 4
    unshown_regions: int = 0
    run: str = RUN

    @property
    def ranked(self) -> int:
        return self.rows - self.quarantined

    @property
    def all_scored(self) -> int:
        return self.ranked if self.scored is None else self.scored


def image_id(spec: ReportSpec, number: int) -> str:
    return spec.ids[number] if number < len(spec.ids) else f"scene_{number:05d}"


def make_regions(spec: ReportSpec, number: int) -> list[list[Any]]:
    """Regions of a row: their count cycles with the row number, every fifth is an omission."""
    if number >= spec.ranked or len(spec.names) < 2:
        return []
    count = number % (spec.regions + 1)
    regions: list[list[Any]] = []
    for place in range(count):
        given, suggested = _pair(spec, number + place)
        y0, x0 = 8 + 11 * place % 120, 10 + 37 * (number + place) % 160
        omission = (number + place) % 5 == 4
        height, width = 20 + 3 * (number % 7), 30 + 5 * place
        evidence = round(30 + 500 / (1 + number + place) + number * 37 % 11 - place / 3, 4)
        regions.append(
            [
                1 + number * 7 + place,
                "omission" if omission else "label",
                None if omission else given,
                suggested,
                y0,
                x0,
                y0 + height,
                x0 + width,
                height * width - place,
                round(evidence / 7, 4),
                evidence,
                None if omission else 0.0123,
                0.9876,
            ]
        )
    return sorted(regions, key=lambda region: -region[9])


def _pair(spec: ReportSpec, number: int) -> tuple[int, int]:
    """Two different classes."""
    classes = len(spec.names)
    given = number % classes
    return given, (given + 1 + number // classes % (classes - 1)) % classes


def make_row(spec: ReportSpec, number: int) -> dict[str, Any]:
    """One row as a dictionary from column to value."""
    ranked = number < spec.ranked
    regions = make_regions(spec, number)
    pairs = [list(pair) for pair in dict.fromkeys((region[2], region[3]) for region in regions)]
    worst = next(([region[2], region[3]] for region in regions if region[2] is not None), None)
    return {
        "rank": number + 1 if ranked else None,
        "image_id": image_id(spec, number),
        "source": number % len(spec.sources),
        "index": number // len(spec.sources),
        "status": "scored" if ranked else "bad_labels" if number % 2 else "missing_chunk",
        "reason": None
        if ranked
        else f"label 77 at (3, {number}) is neither a class nor an ignore value; 12 such pixels",
        "flagged": (number * 53) % 997 if ranked else None,
        "pair": worst,
        "agrees_less": [worst[0], number % 4 == 0] if worst and number % 2 == 0 else None,
        "misplaced": "labels look mirrored left to right" if ranked and number % 3 == 0 else "",
        "size": [2 * HEIGHT, 2 * WIDTH],
        "view_size": [HEIGHT, WIDTH],
        "sheet": [number - number % spec.sheet, number % spec.sheet, spec.sheet, HEIGHT + _margin(spec), WIDTH],
        "picture": spec.pictures,
        "planes": spec.planes if ranked else "",
        "classes": sorted({*(number % len(spec.names) for number in range(number, number + 4))}) if spec.names else [],
        "regions": len(regions),
        "listed_regions": len(regions) + (spec.unshown_regions if regions else 0),
        "pairs": pairs,
        "warnings": [] if ranked else ["chunk (3, 0) of predictions does not exist"],
    }


def make_scores(spec: ReportSpec, number: int) -> dict[str, float | None]:
    """Scores of a row; the run is ranked by the first method."""
    if number >= spec.ranked:
        return dict.fromkeys(METHODS)
    return {
        "softmin": round(0.02 + 0.9 * number / max(spec.all_scored, 1), 6),
        "clc": round((number * 0.618034) % 1, 6),
        "iou": round((number * 0.414214 + 0.3) % 1, 6),
    }


def script_call(call: str, *arguments: Any) -> str:
    """A script that passes data to the page."""
    texts = (json.dumps(argument, ensure_ascii=True, allow_nan=False).translate(_ESCAPED) for argument in arguments)
    return f"masksift.{call}({', '.join(texts)});\n"


def make_report(directory: Path, spec: ReportSpec) -> Path:
    """Write a report directory."""
    shutil.copytree(STATIC, directory, dirs_exist_ok=True)
    (directory / "data").mkdir()
    (directory / "pictures").mkdir()
    (directory / "data" / "run.js").write_text(script_call("run", _run(spec)))
    for number, first in enumerate(range(0, spec.rows, ROWS_PER_FILE)):
        rows = range(first, min(spec.rows, first + ROWS_PER_FILE))
        (directory / "data" / f"rows-{number:05d}.js").write_text(script_call("rows", number, _columnar(spec, rows)))
    for number, first in enumerate(range(0, spec.rows, REGIONS_PER_FILE)):
        rows = range(first, min(spec.rows, first + REGIONS_PER_FILE))
        text = script_call("regions", number, [make_regions(spec, row) for row in rows])
        (directory / "data" / f"regions-{number:05d}.js").write_text(text)
    _draw(directory / "pictures", spec)
    return directory


def _columnar(spec: ReportSpec, numbers: range) -> dict[str, Any]:
    rows = [make_row(spec, number) for number in numbers]
    scores = [make_scores(spec, number) for number in numbers]
    days = [None if number % 7 == 6 else f"2026-11-{20 + number % 3}" for number in numbers]
    return {
        **{name: [row[name] for row in rows] for name in make_row(spec, 0)},
        "columns": dict.fromkeys(spec.columns, days),
        "scores": {method: [score[method] for score in scores] for method in METHODS},
    }


def _run(spec: ReportSpec) -> dict[str, Any]:
    classes = len(spec.names)
    generator = np.random.default_rng(0)
    pixels = generator.integers(10_000, 9_000_000, classes)
    flagged = (pixels * generator.random(classes) * 0.1).astype(int)
    counts: dict[str, int] = {}
    for number in range(spec.ranked, spec.rows):
        counts[make_row(spec, number)["status"]] = counts.get(make_row(spec, number)["status"], 0) + 1
    scored = spec.all_scored
    steps = np.unique(np.geomspace(1, scored, 257).round()).astype(int).tolist() if scored else []
    pairs = (
        [
            [given, suggested, int(2e6 / (1 + (given * 31 + suggested * 17) % 97)), 3 + (given + suggested) % 50]
            for given in range(classes)
            for suggested in range(classes)
            if given != suggested and (classes < 30 or (given * 7 + suggested) % 11 == 0)
        ]
        if scored
        else []
    )
    return {
        "format": 2,
        "planes": spec.planes,
        "run": spec.run,
        "out": "quality/2026-11-23",
        "started": "2026-11-23T07:30:12Z",
        "finished": "2026-11-23T08:42:40Z",
        "seconds": 4348.1,
        "masksift": masksift.__version__,
        "ranked_by": METHODS[0],
        "methods": list(METHODS),
        "images": scored + spec.quarantined,
        "scored": scored,
        "counts": {"scored": scored, **counts} if scored or counts else {},
        "quarantine": [
            {
                "status": status,
                "images": number,
                "image": "a/1",
                "reason": "label <b>7</b>",
                "advice": "Pass --ignore 7.",
            }
            for status, number in counts.items()
        ],
        "flagged_pixels": int(flagged.sum()),
        "pixels": int(pixels.sum()),
        "estimated_issues": int(flagged.sum() * 0.9),
        "keeps_evidence": "p" in spec.planes,
        "sources": list(spec.sources),
        "columns": list(spec.columns),
        "stages": [
            {"name": "condense", "seconds": 3721.4, "bytes_read": 21_474_836_480, "bytes_written": 3_221_225_472},
            {"name": "score", "seconds": 601.9, "bytes_read": 3_221_225_472, "bytes_written": 104_857_600},
            {"name": "rank", "seconds": 24.8, "bytes_read": 5_242_880, "bytes_written": 6_291_456},
        ],
        "workers": 4,
        "classes": [
            {
                "name": name,
                "color": color,
                "pixels": int(pixels[number]),
                "flagged": int(flagged[number]),
                "quality": None if number % 9 == 8 else round(1 - flagged[number] / pixels[number], 6),
                "confident_threshold": None if number % 9 == 8 else 0.5 + number / (4 * classes),
                "decision_threshold": 0.3 + number / (4 * classes),
            }
            for number, (name, color) in enumerate(zip(spec.names, hex_colors(classes), strict=True))
        ],
        "pairs": sorted(pairs, key=lambda pair: -pair[2])[:2000],
        "distribution": {method: _counts(place, scored) for place, method in enumerate(METHODS)},
        "budget": [[step, round(0.02 + 0.9 * (step - 1) / max(scored, 1), 6)] for step in steps],
        "rows": spec.rows,
        "rows_per_file": ROWS_PER_FILE,
        "regions_per_file": REGIONS_PER_FILE,
        "side": 640,
    }


def _counts(place: int, scored: int) -> list[int]:
    values = np.random.default_rng(place).beta(5 - place, 2, scored)
    return np.histogram(values, bins=100, range=(0, 1))[0].tolist()


def _margin(spec: ReportSpec) -> int:
    """Rows of a cell that its image does not fill."""
    return 16 if spec.sheet > 1 else 0


def _draw(directory: Path, spec: ReportSpec) -> None:
    """Write the images and the planes of each sheet."""
    drawn: dict[str, Path] = {}
    for first in range(0, spec.rows, spec.sheet):
        rows = [make_row(spec, number) for number in range(first, min(first + spec.sheet, spec.rows))]
        looks = [number % DISTINCT_IMAGES for number in range(first, first + spec.sheet)]
        if any(row["picture"] for row in rows):
            _save_or_link(
                directory / f"{first:08d}.jpg", drawn, f"picture {looks}", lambda looks=looks: _pictures(spec, looks)
            )
        if any(row["planes"] for row in rows):
            _save_or_link(
                directory / f"{first:08d}.png", drawn, f"planes {looks}", lambda looks=looks: _planes(spec, looks)
            )


def _save_or_link(path: Path, drawn: dict[str, Path], key: str, draw: Any) -> None:
    if key in drawn:
        try:
            os.link(drawn[key], path)
            return
        except OSError:  # too many links to one file
            pass
    draw().save(path)
    drawn[key] = path


def _classes(look: int) -> Iterator[NDArray[np.int64]]:
    """Yield given and predicted classes: wavy stripes that differ in a disk."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    given = ((y + 9 * np.sin((x + 17 * look) / 15)) // 24).astype(np.int64).clip(0)
    yield given
    yield np.where((x - 30 - 9 * look) ** 2 + (y - 50) ** 2 < 300, given + 1, given)


def _stack(spec: ReportSpec, images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Stack images in cells, with repeated edges."""
    half = _margin(spec) // 2
    widths = [[(half, half), *[(0, 0)] * (image.ndim - 1)] for image in images]
    return np.concatenate([np.pad(image, width, "edge") for image, width in zip(images, widths, strict=True)])


def _pictures(spec: ReportSpec, looks: Sequence[int]) -> Image.Image:
    return Image.fromarray(_stack(spec, [_picture(look) for look in looks]))


def _picture(look: int) -> NDArray[np.uint8]:
    given, predicted = _classes(look)
    shade = np.random.default_rng(look).normal(0, 10, given.shape)
    table = np.array([[90, 90, 95], [150, 130, 120], [100, 140, 90], [140, 180, 220], [60, 60, 110], [200, 190, 120]])
    return (table[np.minimum(predicted, 5)] + shade[..., None]).clip(0, 255).astype(np.uint8)


def _planes(spec: ReportSpec, looks: Sequence[int]) -> Image.Image:
    """Stack the planes of a sheet: a palette image, or RGBA beyond 254 classes."""
    cells = []
    for look in looks:
        given, predicted = (plane % max(len(spec.names), 1) for plane in _classes(look))
        planes = {"g": given + 1, "p": predicted + 1, "i": np.where(given != predicted, -1, 0)}
        cells += [planes[letter] for letter in spec.planes]
    stack = _stack(spec, cells)
    table = np.zeros((len(spec.names) + 2, 4), np.uint8)
    table[1:-1, :3], table[1:-1, 3] = class_colors(len(spec.names)), 255
    table[-1] = (*ISSUE, 255)
    if len(spec.names) > 254:
        return Image.fromarray(table[stack])
    image = Image.fromarray(np.where(stack < 0, 255, stack).astype(np.uint8), mode="P")
    palette = np.zeros((256, 3), np.uint8)
    palette[1 : len(spec.names) + 1], palette[255] = table[1:-1, :3], ISSUE
    image.putpalette(palette.tobytes())
    image.info["transparency"] = 0
    return image
