"""Describe the label files of an ingest, so that exports find pixels on a map and in their files."""

from __future__ import annotations

import numpy as np

from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.georaster import RasterWindow
from masksift.prepare.ingest.labels import LabelReader
from masksift.prepare.ingest.raster import LOSSLESS_EXTENSIONS
from masksift.storage.zarr.origin import LabelEncoding, LabelFile, Origin

_REWRITTEN = (*LOSSLESS_EXTENSIONS, ".bmp", ".webp", ".npy")
"""Ends of the names of files that `masksift export masks` writes again."""


def label_origin(inputs: Inputs, labels: LabelReader, *, resized: bool) -> Origin | None:
    """Return the label files and the place of each image in them; None if labels are no files of pixels.

    Args:
        inputs: Inputs of the ingest.
        labels: Reader of the labels.
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
    encoding = LabelEncoding(labels.values, labels.colors, labels.use_palette, labels.class_channel)
    is_rewritten = not resized and not any(pair.names_classes for pair in inputs.pairs)
    is_rewritten = is_rewritten and all(file.name.lower().endswith(_REWRITTEN) for file in files)
    return Origin(root, files, images, places, encoding if is_rewritten else None)
