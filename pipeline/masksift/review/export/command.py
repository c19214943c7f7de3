"""The line of an export: open the run, choose the regions, write the format, tell."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import UsageError
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.export import FORMATS
from masksift.review.export.config import ExportConfig
from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.file_names import make_unique
from masksift.review.export.selection import ExportImage, select_images
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory

MARK = "export.json"
"""What says of a folder which export it holds."""
PACKED = ("coco", "datumaro")
"""Formats that pycocotools packs the masks of."""
TOLD = 3
"""Reasons why pictures or labels are missing that are told."""


@dataclass(frozen=True)
class ExportResult:
    """How an export ended. ``text``: what to print."""

    text: str


def export(form: str, config: ExportConfig, report: ProgressReporter) -> ExportResult:
    """Write the regions of a run in a format, worst first. Raises MasksiftError."""
    if form in PACKED:
        _require_pycocotools()
    run = open_completed_run(config.run, config.storage, _places(config))
    images = select_images(run, config)
    folder = _results(form, config, run, images)
    arrays = config.arrays.images or run.images_array
    with report.stage("export", len(images)) as stage:
        written = ExportWriter(run, config, folder, make_unique(run.class_names), images, arrays, stage)
        FORMATS[form].writer()(written)
    return ExportResult(_told(form, written))


def _places(config: ExportConfig) -> list[str]:
    """Where else than in the run is read or written."""
    return [place for place in (config.out, config.verdicts, config.arrays.images) if place]


def _require_pycocotools() -> None:
    try:
        importlib.import_module("pycocotools.mask")
    except ImportError as e:
        raise UsageError(
            "the package pycocotools is not there", "nothing was exported", "Install it: pip install 'masksift[export]'"
        ) from e


def _results(form: str, config: ExportConfig, run: CompletedRun, images: Sequence[ExportImage]) -> ObjectDirectory:
    """Where the export goes, marked as what it is. Raises UsageError where anything but the same export, begun or
    complete, lies there: of another one files would be left among these."""
    folder = ObjectDirectory(config.out, run.context.options)
    ranks = ",".join(str(region.rank) for image in images for region in image.regions)
    mark = {
        "format": form,
        "run": run.context.fingerprint,
        "regions": hashlib.sha256(ranks.encode()).hexdigest(),
        **config.chosen(),
    }
    names = [name for name in folder.names() if not name.endswith(".partial")]  # of an export that was killed
    strangers = [name for name in names if name not in (MARK, *FORMATS[form].outputs)]
    if strangers or (names and _marked(folder) != mark):
        said = f"({', '.join(strangers[:3])})" if strangers else "by its export.json"
        raise UsageError(
            f"{config.out} holds what is not this export {said}",
            "files of two would be mixed",
            "Give an empty or a new folder as --out",
        )
    folder.write(MARK, to_json(mark, indent=1))
    return folder


def _marked(folder: ObjectDirectory) -> Mapping[str, Any] | None:
    """What is said of the export that lies in a folder."""
    data = folder.read(MARK)
    try:
        return None if data is None else dict(json.loads(data))
    except ValueError:
        return None


def _told(form: str, written: ExportWriter) -> str:
    regions = sum(len(image.regions) for image in written.images)
    wanted = f", {written.pictures:,} pictures" if written.config.pictures else ""
    lines = [f"{form}: {regions:,} regions of {len(written.images):,} images{wanted}: {written.folder.url}"]
    lost = list(written.lost)
    lines += [f"  {why}" for why in lost[:TOLD]]
    if len(lost) > TOLD:
        lines.append(f"  and {len(lost) - TOLD:,} more of that kind")
    return "\n".join(lines)
