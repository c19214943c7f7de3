"""What a worker does for the page: draw some images of one source, and put what it has drawn.

Of each image there is a JPEG of its picture, and a PNG of its planes, one below the other: the classes that were given
(`g`) and predicted (`p`) as palette indices, one more than the class, and the flagged pixels (`i`) as index 255. Index
0 is transparent: no label, no flag. Of more than 254 classes the PNG has colours instead of indices.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.engine.planning.report_plan import MAX_SIDE_PIXELS, REPORT
from masksift.engine.score_task import image_part_name
from masksift.engine.work_items import BlockTask, RunContext, sum_io_counters
from masksift.review.rendering.palette import MAX_COLORS, class_colors
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import read_table

QUALITY = 85
"""Of a JPEG, by looking at streets: at 75 thin poles and lettering smear; 95 nearly doubles the bytes."""
FLAGGED = (255, 0, 200)
"""The colour of flagged pixels, which no class has."""
FLAG = 255
"""Their palette index."""
_OF_A_ROW = ("index", "height", "width", "flagged_pixels", "worst_given", "worst_suggested")


@dataclass(frozen=True)
class ImageRef:
    """An image to draw. ``number``: its row on the page; ``index``: in its source; ``block``: that of the run it lies
    in; ``scored``: whether it was."""

    number: int
    index: int
    block: int
    scored: bool


@dataclass(frozen=True)
class RenderTask:
    """Images of one source. ``part``: any block of it."""

    part: BlockTask
    picks: tuple[ImageRef, ...]

    @property
    def log_fields(self) -> dict[str, Any]:
        """What is said of it where somebody watches."""
        indices = [pick.index for pick in self.picks]
        return {"source": self.part.spec.name, "first_image": min(indices), "last_image": max(indices)}


@dataclass(frozen=True)
class RenderContext:
    """What every task knows. ``pictures``: name or URL of their array; ``predicted``: whether the evidence is there."""

    job: RunContext
    pictures: str
    predicted: bool


@dataclass(frozen=True)
class RenderedImage:
    """What the page must know of a drawn image. ``flagged``: pixels, ``pair``: the classes that most of them have, None
    where it was not scored; ``size``: its own, ``shown``: of what is drawn; ``picture``: whether there is a JPEG;
    ``planes``: the letters of the PNG, empty where there is none; ``classes``: that occur in it; ``lost``: what could
    not be shown, and why."""

    number: int
    flagged: int | None
    pair: tuple[int, int] | None
    size: tuple[int, int]
    view_size: tuple[int, int]
    picture: bool
    planes: str
    classes: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RenderResult:
    """What a batch answers. ``without``: why the source has no pictures, where it has none."""

    drawn: tuple[RenderedImage, ...]
    without: str
    task_result: TaskResult


def image_file(number: int, ending: str) -> str:
    """The file of a row, below the report's folder."""
    return f"pictures/{number:08d}.{ending}"


def render(drawing: RenderContext, batch: RenderTask) -> RenderResult:
    """Draw and put the images of a batch, one after the other."""
    begun, job, part = time.perf_counter(), drawing.job, batch.part
    folder = ObjectDirectory(job.out, job.options)
    rows = _rows(job, folder, batch.picks)
    viewer = ImageViewReader(job, part, drawing.pictures, predicted=drawing.predicted)
    drawn = []
    for pick, row in zip(batch.picks, rows, strict=True):
        size = row["height"], row["width"]
        view = viewer.view(pick.index, MAX_SIDE_PIXELS, scored=pick.scored, size=size)
        drawn.append(_put(folder, pick.number, view, part.spec.classes, row, viewer.images_warning))
    result = TaskResult(
        batch.picks[0].number,
        len(drawn),
        sum(math.prod(one.size) for one in drawn),
        {SCORED: len(drawn)},
        **sum_io_counters(folder, viewer),
        seconds=time.perf_counter() - begun,
    )
    return RenderResult(tuple(drawn), viewer.images_warning, result)


def _rows(job: RunContext, folder: ObjectDirectory, picks: Sequence[ImageRef]) -> list[dict[str, Any]]:
    """What the run's table says of each image: its blocks' parts are read one after the other."""
    found: dict[int, dict[str, Any]] = {}
    for block in dict.fromkeys(pick.block for pick in picks):
        table = read_table(folder, image_part_name(job.fingerprint, block), _OF_A_ROW)
        first = table["index"][0].as_py()
        for pick in picks:
            if pick.block == block:
                (found[pick.index],) = table.slice(pick.index - first, 1).to_pylist()
    return [found[pick.index] for pick in picks]


def _put(
    folder: ObjectDirectory, number: int, view: ImageView, classes: int, row: Mapping[str, Any], without: str
) -> RenderedImage:
    """Put what there is to see of an image. Why its source has no pictures is said once, and not of each image."""
    bands = {"g": view.given, "p": view.predicted, "i": view.flagged}
    planes = {letter: plane for letter, plane in bands.items() if plane is not None}
    files = {} if view.rgb is None else {"jpg": jpeg(view.rgb)}
    files |= {"png": png(planes, classes)} if planes else {}
    for ending, data in files.items():
        folder.write(f"{REPORT}/{image_file(number, ending)}", data)
        folder.io_counters["bytes_written"] += len(data)
    shown = [plane for plane in (view.given, view.predicted) if plane is not None]
    present = np.unique(np.concatenate([np.unique(plane) for plane in shown])) if shown else np.empty(0, np.int64)
    known = None not in (row["worst_given"], row["worst_suggested"])
    height, width = (-(-side // view.factor) for side in view.size)
    return RenderedImage(
        number,
        row["flagged_pixels"],
        (row["worst_given"], row["worst_suggested"]) if known else None,
        view.size,
        (height, width),
        view.rgb is not None,
        "".join(planes),
        tuple(present[present < classes].tolist()),
        tuple(why for why in view.warnings if why != without),
    )


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture (h, w, 3). The same picture gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def png(planes: Mapping[str, NDArray[Any]], classes: int) -> bytes:
    """The planes (h, w) by their letters, class numbers or flags, one below the other. The same planes give the same
    bytes. Packed as usual: the utmost takes eight times as long for a tenth of the bytes (measured)."""
    indices = np.concatenate([_indices(plane, classes) for plane in planes.values()])
    buffer = io.BytesIO()
    if classes <= MAX_COLORS:
        image = Image.fromarray(indices)
        image.putpalette(_palette(classes)[:, :3].tobytes())
        image.save(buffer, "PNG", transparency=0)
    else:
        Image.fromarray(_palette(classes)[indices]).save(buffer, "PNG")
    return buffer.getvalue()


def _indices(plane: NDArray[Any], classes: int) -> NDArray[np.unsignedinteger]:
    """Palette indices of a plane, of the dtype of class numbers. What is no class is transparent."""
    number = class_dtype(classes).type
    if plane.dtype == bool:
        return np.where(plane, number(_flag(classes)), number(0))
    return np.where(plane < classes, plane + number(1), number(0))


def _flag(classes: int) -> int:
    """The palette index of flagged pixels."""
    return max(FLAG, classes + 1)


def _palette(classes: int) -> NDArray[np.uint8]:
    """(n, 4) uint8: the colours by index, with their opacity."""
    table = np.zeros((_flag(classes) + 1, 4), np.uint8)
    table[1:, 3] = 255
    table[1 : classes + 1, :3] = class_colors(classes)
    table[_flag(classes), :3] = FLAGGED
    return table
