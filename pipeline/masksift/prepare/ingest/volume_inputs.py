"""Match volumes of labels, predictions and images, and cut them into slices, which become the images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.matching import match, stem
from masksift.prepare.ingest.predictions import PredictionFormat
from masksift.prepare.ingest.volumes import VOLUME_EXTENSIONS, VolumeFile, VolumeSlice, nibabel, read_volume_file
from masksift.storage.files import Files, find_files

_PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""World axis that each anatomical plane is perpendicular to: right, anterior, superior."""
_AFFINE_TOLERANCE = 1e-2
"""Largest difference of two affines of one case, in millimeters."""
_CHANNEL = re.compile(r"_\d{4}$")
"""End of the names of nnU-Net's images: the channel."""


def volume_stem(name: str) -> str:
    """Return the name of a case: a file name without `.nii`, `.nii.gz` or `.npz`."""
    return stem(re.sub(r"(?i)\.gz$", "", name))


def match_volumes(
    config: IngestConfig, labels: Files, options: Mapping[str, Any]
) -> tuple[tuple[InputPair, ...], PredictionFormat | None, tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Match volumes by name, and cut them into slices.

    Args:
        config: Configuration of the ingest.
        labels: Label files.
        options: Storage options.

    Returns:
        A pair for each slice, the format of the predictions, the rules of matching, and files without a partner.

    Raises:
        DataError: Volumes of one name do not have the same voxels.
        UsageError: nibabel is not installed, or options do not fit volumes.
    """
    if config.window is not None or config.resize is not None:
        key = "window" if config.window is not None else "resize"
        raise UsageError(f"{key} is set, but labels are volumes ({config.labels})", f"Drop --{key}")
    nibabel()
    sides: dict[str, Files] = {}
    if config.predictions is not None:
        sides["predictions"] = _prefer_arrays(find_files(config.predictions, options, (*VOLUME_EXTENSIONS, ".npz")))
    if config.images is not None:
        sides["images"] = find_files(config.images, options, VOLUME_EXTENSIONS)
    keys = [volume_stem(name) for name in labels.names]
    urls = [{"labels": labels.url(name)} for name in labels.names]
    names, rules, unmatched = list(keys), [], dict[str, tuple[str, ...]]()
    for side, files in sides.items():
        first = _first_channels(files.names) if side == "images" else list(files.names)
        others = [_CHANNEL.sub("", volume_stem(name)) if side == "images" else volume_stem(name) for name in first]
        matching = match(keys, others, ("labels", side))
        for i, j in matching.pairs:
            urls[i][side] = files.url(first[j])
        rules.append(f"labels and {side}: {matching.rule}")
        own = "labels" if side == "predictions" or config.predictions is None else "labels without an image"
        unmatched[own] = tuple(labels.names[i] for i in matching.unmatched[0])
        unmatched[side] = tuple(first[j] for j in matching.unmatched[1])
    needed = "predictions" if config.predictions is not None else "images"
    cases = [(name, places) for name, places in zip(names, urls, strict=True) if needed in places]
    session = uuid4().hex
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        volumes = list(pool.map(lambda case: _read_case(case[1], options, session), cases))
    pairs = tuple(pair for (name, _), case in zip(cases, volumes, strict=True) for pair in _slices(name, case, config))
    classes = {len(case["predictions"].shape) for case in volumes if "predictions" in case}
    if len(classes) > 1:
        raise DataError(
            f"Some predictions in {config.predictions} are class numbers, others have an axis of classes",
            "Use predictions of one form",
        )
    prediction_format: PredictionFormat | None = None
    if classes:
        prediction_format = "planes" if classes == {4} else "numbers"
    return pairs, prediction_format, tuple(rules), {side: names for side, names in unmatched.items() if names}


def _prefer_arrays(files: Files) -> Files:
    """Leave out nnU-Net's predicted classes, which lie next to its probabilities."""
    arrays = tuple(name for name in files.names if name.lower().endswith(".npz"))
    return Files(files.place, files.root, arrays or files.names)


def _first_channels(names: Sequence[str]) -> list[str]:
    """Leave out further channels of a case, which nnU-Net numbers from _0000 on."""
    stems = {volume_stem(name) for name in names}
    return [
        name
        for name in names
        if not _CHANNEL.search(key := volume_stem(name)) or key.endswith("_0000") or f"{key[:-5]}_0000" not in stems
    ]


def _read_case(urls: Mapping[str, str], options: Mapping[str, Any], session: str) -> dict[str, VolumeFile]:
    """Read the headers of one case. Raises DataError unless its volumes have the same voxels."""
    case = {side: read_volume_file(url, options, session) for side, url in urls.items()}
    label = case["labels"]
    for file in case.values():
        if file.size != label.size:
            raise DataError(
                f"{label.url} has {_format(label.size)} voxels, {file.url} has {_format(file.size)}",
                "Resample one of them to the voxels of the other",
            )
        if file.affine and not np.allclose(file.affine, label.affine, atol=_AFFINE_TOLERANCE, rtol=1e-4):
            raise DataError(
                f"{label.url} and {file.url} have different affines",
                "Their voxels are at other places or in another order",
                "Resample one of them to the voxels of the other",
            )
    return case


def _format(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def slice_axis(file: VolumeFile, axis: str) -> int:
    """Return the axis of the voxels that slices are perpendicular to, of a number or an anatomical plane."""
    if axis not in _PLANES:
        return int(axis)
    orientation = nibabel().orientations.io_orientation(np.reshape(file.affine, (4, 4)))
    return int(np.flatnonzero(orientation[:, 0] == _PLANES[axis])[0])


def _slices(name: str, case: Mapping[str, VolumeFile], config: IngestConfig) -> list[InputPair]:
    label, predictions, images = case["labels"], case.get("predictions"), case.get("images")
    axis = slice_axis(label, config.slice_axis)
    depth = label.size[axis]
    digits = max(3, len(str(depth - 1)))
    return [
        InputPair(
            f"{name}/{index:0{digits}}",
            VolumeSlice(label, axis, index),
            None if predictions is None else VolumeSlice(predictions, axis, index),
            None if images is None else VolumeSlice(images, axis, index, config.picture_range),
        )
        for index in range(depth)
    ]
