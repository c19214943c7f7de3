"""Export the regions of a completed run to an annotation tool."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.json_text import parse_json
from masksift.core.text import pluralize
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.export import FORMATS
from masksift.review.export.config import ExportConfig
from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.selection import ExportImage, select_images
from masksift.review.file_names import IMAGES_FILE, make_unique
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory

MARKER = "export.json"
"""File that identifies the export in a directory."""
PYCOCOTOOLS_FORMATS = ("coco", "datumaro")
MAX_LISTED_WARNINGS = 3


def export(form: str, config: ExportConfig, progress: ProgressReporter) -> str:
    """Write the regions of a run in a format, worst first, and return the text to print."""
    if form in PYCOCOTOOLS_FORMATS:
        _require_pycocotools()
    also = [url for url in (config.out, config.verdicts, config.arrays.images) if url]
    run = open_completed_run(config.run, config.storage, also)
    images_array = config.arrays.images or run.images_array
    decisions = () if config.verdicts is None else (config.verdicts,)
    check_output(config.out, [*source_urls(run.tasks.sources, images_array), *decisions])
    images = select_images(run, config)
    directory = _open_output(form, config, run, images)
    with progress.stage("export", len(images)) as stage:
        writer = ExportWriter(run, config, directory, make_unique(run.class_names), images, images_array, stage)
        FORMATS[form].writer()(writer)
    return _summary(form, writer)


def _require_pycocotools() -> None:
    try:
        importlib.import_module("pycocotools.mask")
    except ImportError as e:
        raise UsageError("pycocotools is not installed", "Run `pip install 'masksift[export]'`") from e


def _open_output(form: str, config: ExportConfig, run: CompletedRun, images: Sequence[ExportImage]) -> ObjectDirectory:
    """Open and mark the output directory; raises UsageError unless it is empty or holds the same export."""
    directory = ObjectDirectory(config.out, run.context.options)
    ranks = ",".join(str(region.rank) for image in images for region in image.regions)
    marker = {
        "format": form,
        "run": run.context.fingerprint,
        "regions": hashlib.sha256(ranks.encode()).hexdigest(),
        **config.content_keys(),
    }
    names = [name for name in directory.names() if not name.endswith(".partial")]  # left by a killed export
    unexpected = [name for name in names if name not in (MARKER, IMAGES_FILE, *FORMATS[form].outputs)]
    if unexpected:
        raise UsageError(
            f"{config.out} contains files that are not this export ({', '.join(unexpected[:3])})",
            "Use a new or empty directory for --out",
        )
    if names and _read_marker(directory) != marker:
        raise UsageError(
            f"{config.out} contains another export, according to its {MARKER}", "Use a new or empty directory for --out"
        )
    directory.write(MARKER, to_json(marker, indent=1))
    directory.write(IMAGES_FILE, _images_table(images))
    return directory


def _images_table(images: Sequence[ExportImage]) -> bytes:
    """Write which image of the run each exported name is, for `masksift import`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "source", "index"))
    rows.writerows((image.name, image.source, image.index) for image in images)
    return text.getvalue().encode()


def _read_marker(directory: ObjectDirectory) -> Mapping[str, Any] | None:
    data = directory.read(MARKER)
    try:
        return None if data is None else dict(parse_json(data))
    except ValueError:
        return None


def _summary(form: str, writer: ExportWriter) -> str:
    regions = sum(len(image.regions) for image in writer.images)
    written = f", {pluralize(writer.rgb_images, 'picture')}" if writer.config.pictures else ""
    counts = f"{pluralize(regions, 'region')} of {pluralize(len(writer.images), 'image')}"
    lines = [f"{form}: {counts}{written}: {writer.directory.url}"]
    lines += [f"  {warning}" for warning in list(writer.warnings)[:MAX_LISTED_WARNINGS]]
    if len(writer.warnings) > MAX_LISTED_WARNINGS:
        lines.append(f"  and {len(writer.warnings) - MAX_LISTED_WARNINGS:,} more such warnings")
    return "\n".join(lines)
