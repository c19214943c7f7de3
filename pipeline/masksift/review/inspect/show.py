"""`masksift show`: draw one image of a completed run as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable, safe_file_name
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.review.class_agreement import agreement_text
from masksift.review.inspect.config import ShowConfig
from masksift.review.inspect.lookup import find_image, find_rank, image_location, read_regions
from masksift.review.label_transforms import transform_text
from masksift.review.rendering.figure import draw_figure
from masksift.review.rendering.panels import (
    MAX_OUTLINED_REGIONS,
    figure_png,
    image_title,
    more_regions_text,
    require_matplotlib,
)
from masksift.storage.locations import check_separate, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import split_url


def show(config: ShowConfig) -> str:
    """Draw an image, write it as a PNG file and return the text to print; raises MasksiftError."""
    require_matplotlib()
    also = [url for url in (config.out, config.arrays.images) if url is not None]
    run = open_completed_run(config.run, config.storage, also)
    images_array = config.arrays.images or run.images_array
    if config.out is not None:
        check_separate(config.out, source_urls(run.tasks.sources, images_array))
    row = find_image(run, config.image)
    view = _load_view(run, row, config, images_array)
    regions, total = read_regions(run, row, MAX_OUTLINED_REGIONS)
    title = image_title(row, run.record["configuration"]["rank_by"], find_rank(run, row), run.scored_images)
    if len(run.tasks.sources) > 1 or len(title) > 1:
        title.append(escape_unprintable(image_location(row)))
    notes = [transform_text(row), agreement_text(row, run.class_names), more_regions_text(total - len(regions))]
    notes += [escape_unprintable(warning) for warning in view.warnings if warning != row["reason"]]
    if row["status"] == SCORED and not run.keeps_evidence:
        notes.append("no prediction is shown, because the run kept no evidence (evidence.keep)")
    notes = [note for note in notes if note]
    data = figure_png(draw_figure(view, run.class_names, title, regions, notes, config.side, run.class_colors))
    url = _write(config, row["image_id"], run, data)
    return "\n".join([*title, *notes, f"picture: {url}"])


def _load_view(run: CompletedRun, row: Mapping[str, Any], config: ShowConfig, images_array: str) -> ImageView:
    task = run.find_task(row["source"], row["index"])
    reader = ImageViewReader(run.context, task, images_array, predicted=run.keeps_evidence)
    return reader.view(row["index"], config.side, scored=row["status"] == SCORED)


def _write(config: ShowConfig, image_id: str, run: CompletedRun, data: bytes) -> str:
    """Write the PNG file and return its location; raises UsageError if the default name is taken."""
    # a file named with --out is overwritten; one with the default name may be the image itself
    url = config.out or f"{safe_file_name(image_id)}.png"
    parent, name = split_url(url)
    directory = ObjectDirectory(parent, run.context.options)
    if config.out is not None:
        directory.write(name, data)
    elif not directory.create(name, data) and directory.read(name) != data:
        raise UsageError(
            f"{url} exists and has other content", "It is not overwritten", "Pass a file name: --out FILE.png"
        )
    return url
