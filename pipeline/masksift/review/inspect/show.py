"""`masksift show`: one image of a complete run as a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable, safe_file_name
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.review.inspect.config import ShowConfig
from masksift.review.inspect.lookup import find_image, find_rank, image_location, ranked_images, read_regions
from masksift.review.rendering.figure import draw_figure
from masksift.review.rendering.panels import (
    MAX_OUTLINED_REGIONS,
    figure_png,
    image_title,
    more_regions_text,
    require_matplotlib,
)
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import local_path


@dataclass(frozen=True)
class ShowResult:
    """``text``: what to print; ``place``: path or URL of the picture."""

    text: str
    place: str


def show(config: ShowConfig) -> ShowResult:
    """Draw the image and write it. Raises MasksiftError: where there is no such run or image, where several images have
    that id, and where no name is given for the picture and a file of the image's name is there already."""
    require_matplotlib()
    also = [place for place in (config.out, config.arrays.images) if place is not None]
    run = open_completed_run(config.run, config.storage, also)
    row = find_image(run, config.image)
    view = _view(run, row, config)
    regions, total = read_regions(run, row, MAX_OUTLINED_REGIONS)
    title = image_title(row, run.record["configuration"]["rank_by"], find_rank(run, row), ranked_images(run))
    if len(run.tasks.sources) > 1 or len(title) > 1:
        title.append(escape_unprintable(image_location(row)))
    notes = [
        more_regions_text(total - len(regions)),
        *(escape_unprintable(why) for why in view.warnings if why != row["reason"]),
    ]
    if row["status"] == SCORED and not run.keeps_evidence:
        notes.append("no prediction is shown: the run has kept no evidence (evidence.keep)")
    notes = [note for note in notes if note]
    data = figure_png(draw_figure(view, run.class_names, title, regions, notes, config.side))
    place = _write(config, row["image_id"], run, data)
    return ShowResult("\n".join([*title, *notes, f"picture: {place}"]), place)


def _view(run: CompletedRun, row: Mapping[str, Any], config: ShowConfig) -> ImageView:
    # a run of an earlier version says nothing of pictures
    name = config.arrays.images or run.images_array
    viewer = ImageViewReader(
        run.context, run.find_task(row["source"], row["index"]), name, predicted=run.keeps_evidence
    )
    return viewer.view(row["index"], config.side, scored=row["status"] == SCORED)


def _write(config: ShowConfig, image_id: str, run: CompletedRun, data: bytes) -> str:
    """Write the picture; answers where. What is there under a name that was given is overwritten; under another one it
    may well be the image itself."""
    place = config.out or f"{safe_file_name(image_id)}.png"
    path = local_path(place) or place
    folder, _, name = path.rpartition("/")
    where = ObjectDirectory(folder or "/", run.context.options)
    if config.out is None and not where.create(name, data) and where.read(name) != data:
        raise UsageError(
            f"{place} is there already",
            "it may not be a picture of this kind, and is left as it is",
            "Give another name, or the same one: --out FILE.png",
        )
    if config.out is not None:
        where.write(name, data)
    return place
