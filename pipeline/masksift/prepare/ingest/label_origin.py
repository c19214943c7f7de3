"""Describe the label files of an ingest, so that exports find pixels on a map and in their files."""

from __future__ import annotations

import numpy as np

from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.georaster import RasterWindow
from masksift.storage.zarr.origin import LabelFile, Origin


def label_origin(inputs: Inputs, *, resized: bool) -> Origin | None:
    """Return the label files and the place of each image in them; None if labels are no files of pixels.

    Args:
        inputs: Inputs of the ingest.
        resized: The written labels do not have the size of the files.

    Returns:
        The origin.
    """
    if any(pair.shapes is not None or isinstance(pair.label, StoredArray) for pair in inputs.pairs):
        return None
    numbers: dict[str, int] = {}
    files: list[LabelFile] = []
    images = np.zeros(len(inputs.pairs), np.int32)
    places = np.zeros((len(inputs.pairs), 4), np.int32)
    root = inputs.label_root
    for i, pair in enumerate(inputs.pairs):
        url = next(pair.urls)
        if url not in numbers:
            numbers[url] = len(files)
            name = url.removeprefix(f"{root}/")
            windows = [one for one in (pair.label, pair.predictions, pair.rgb) if isinstance(one, RasterWindow)]
            located = next((one.file for one in windows if one.file.transform and not resized), None)
            files.append(LabelFile(name) if located is None else LabelFile(name, located.transform, located.crs))
        images[i] = numbers[url]
        places[i] = pair.place or (0, 0, 0, 0)
    return Origin(root, files, images, places)
