"""What there is to ingest: files found, told apart by what they are, and matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.coco_panoptic import read_panoptic
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.labels import Color, InputPair, Table, color_table
from masksift.prepare.ingest.matching import Matching, match, stem
from masksift.prepare.ingest.npy import ARRAYS, Header, header_of
from masksift.prepare.ingest.predictions import PredictionFormat
from masksift.prepare.ingest.presets import PRESETS, Preset
from masksift.prepare.ingest.raster import PICTURES, RASTERS
from masksift.storage.files import Files, find_files, open_file
from masksift.storage.urls import local_path

WHAT = ("labels", "predictions")


@dataclass(frozen=True)
class Inputs:
    """``classes``: their names, where anything tells them; ``values``: what label values stand for, where it is known;
    ``colors``: likewise; ``rules``: how files found each other; ``unmatched``: files without a partner, by side;
    ``passed_over``: label files of another form; ``arrays``: the one .npy of labels, and that of predictions."""

    pairs: tuple[InputPair, ...]
    form: PredictionFormat
    classes: tuple[str, ...] | None
    values: Table | None = None
    colors: Mapping[Color, int] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    unmatched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passed_over: int = 0
    arrays: tuple[tuple[str, Header], tuple[str, Header]] | None = None


@dataclass(frozen=True)
class _Labels:
    """``keys``: what the images are called; ``ids``: what else, or nothing; ``files``: their names in messages."""

    keys: tuple[str, ...]
    files: tuple[str, ...]
    urls: tuple[str, ...]
    ids: tuple[str, ...] = ()
    segments: tuple[tuple[tuple[int, int], ...], ...] = ()
    passed_over: int = 0


def discover_inputs(config: IngestConfig, options: Mapping[str, Any]) -> Inputs:
    """Everything that the configuration names. Raises DataError, UsageError."""
    preset = PRESETS[config.preset] if config.preset else Preset((), {})
    classes, colors = config.classes or preset.classes or None, preset.colors
    if preset.classes and len(classes or ()) != len(preset.classes):
        if config.remap is None:
            raise UsageError(
                f"{config.preset} has {len(preset.classes)} classes and {len(classes or ())} are named",
                "which is which is not known",
                "Leave the names out, or say what its numbers stand for: --remap 7:0,8:1",
            )
        colors = {}
    if config.colors is not None:
        classes, colors = color_table(config.colors, options, classes)
    if config.arrays:
        return _one_array_each(config, classes, preset, options)
    if config.ids is not None:
        raise UsageError(
            f"ids is {config.ids!r}, and images are files, which have names",
            "they would have two",
            "Leave --ids out, or give one .npy of labels and one of predictions",
        )
    values: Table | None = None
    if config.labels.endswith(".json"):
        labels, names = _panoptic_labels(config, options)
        classes = classes or names
        if len(classes) != len(names):
            raise UsageError(
                f"{config.labels} has {len(names)} categories and {len(classes)} classes are named",
                "which is which is not known",
                "Leave the names out: the categories have their own",
            )
    else:
        labels, values = _image_labels(config, preset, options)
    return _matched(config, labels, classes, preset.endings, options, values, colors)


def _panoptic_labels(config: IngestConfig, options: Mapping[str, Any]) -> tuple[_Labels, tuple[str, ...]]:
    if config.remap is not None or config.colors is not None or config.ignore:
        raise UsageError(
            f"labels are COCO panoptic ({config.labels}), with remap, ignore or colors given",
            "their categories are the classes already",
            "Leave --remap, --ignore and --colors out",
        )
    found = read_panoptic(config.labels, options)
    keys = tuple(stem(name) for name in found.files)
    return _Labels(keys, found.files, found.urls, found.ids, found.segments), found.classes


def _image_labels(config: IngestConfig, preset: Preset, options: Mapping[str, Any]) -> tuple[_Labels, Table | None]:
    """The label files, of the first form of the preset that is there, and what their values stand for."""
    found = find_files(config.labels, options, RASTERS)
    names = {name: stem(name) for name in found.names}
    ending = next((ending for ending in preset.forms if any(name.endswith(ending) for name in names.values())), None)
    if ending is None and preset.forms and config.remap is None:
        raise DataError(
            f"no label file at {config.labels} has a name of {config.preset}'s (ending in {', '.join(preset.forms)})",
            "what its numbers stand for is not known",
            "Say it: --remap 7:0,8:1, beside --preset; or rename them",
        )
    chosen = [name for name in found.names if names[name].endswith(ending or "")]
    endings = [ending, *preset.endings] if ending else preset.endings
    keys = tuple(stem(name, endings) for name in chosen)
    passed = len(found.names) - len(chosen)
    labels = _Labels(keys, tuple(chosen), tuple(map(found.url, chosen)), passed_over=passed)
    return labels, None if ending is None else preset.forms[ending]


def _matched(
    config: IngestConfig,
    labels: _Labels,
    classes: tuple[str, ...] | None,
    endings: Sequence[str],
    options: Mapping[str, Any],
    values: Table | None,
    colors: Mapping[Color, int],
) -> Inputs:
    """Labels with their predictions and, where they are asked for, pictures."""
    files = find_files(config.predictions, options, (*ARRAYS, *RASTERS))
    form, groups = _detect_format(files, classes)
    keys = [stem(name, endings) for name in groups] if form != "planes" else list(groups)
    located = list(groups.values())
    found = _best(labels, keys)
    unmatched = {
        "labels": tuple(labels.files[i] for i in found.alone[0]),
        "predictions": tuple(tuple(groups)[i] for i in found.alone[1]),
    }
    rules = [f"labels and predictions: {found.rule}"]
    pictures: dict[int, str] = {}
    if config.images is not None:
        there = find_files(config.images, options, PICTURES)
        paired = [i for i, _ in found.pairs]
        named = [stem(name, endings) for name in there.names]
        shown = match([labels.keys[i] for i in paired], named, ("labels", "images"))
        pictures = {paired[i]: there.url(there.names[j]) for i, j in shown.pairs}
        unmatched |= {
            "labels without a picture": tuple(labels.files[paired[i]] for i in shown.alone[0]),
            "images": tuple(there.names[j] for j in shown.alone[1]),
        }
        rules.append(f"labels and images: {shown.rule}")
    pairs = tuple(
        InputPair(
            found.names[i], labels.urls[i], located[j], pictures.get(i), labels.segments[i] if labels.segments else None
        )
        for i, j in found.pairs
    )
    return Inputs(
        pairs,
        form,
        classes,
        values,
        colors,
        tuple(rules),
        {k: v for k, v in unmatched.items() if v},
        labels.passed_over,
    )


def _best(labels: _Labels, keys: Sequence[str]) -> Matching:
    """By the names of the label files or, where none of them fits, by the image ids of their annotations."""
    try:
        return match(labels.keys, keys, WHAT)
    except DataError:
        if not set(labels.ids) & set(keys):
            raise
    return match(labels.ids, keys, WHAT)


def _detect_format(files: Files, classes: Sequence[str] | None) -> tuple[PredictionFormat, dict[str, Any]]:
    """What files of predictions are, and where each image's lie: by the file's name, or by the folder's where one holds
    a grey image a class."""
    arrays = [name for name in files.names if name.lower().endswith(ARRAYS)]
    if arrays and len(arrays) < len(files.names):
        other = next(name for name in files.names if name not in set(arrays))
        raise DataError(
            f"{files.place} holds arrays and images ({arrays[0]} and {other})",
            "which of them are the predictions is not known",
            "Give a glob, such as 'FOLDER/*.npy'",
        )
    if arrays:
        return "arrays", {name: files.url(name) for name in arrays}
    if (folders := _class_folders(files, classes)) is not None:
        return "planes", folders
    return "numbers", {name: files.url(name) for name in files.names}


def _class_folders(files: Files, classes: Sequence[str] | None) -> dict[str, tuple[str, ...]] | None:
    """URLs in the order of the classes by folder, where every file is called as a class or as its number; else None."""
    words = {name: k for k, name in enumerate(classes or ())}
    folders: dict[str, dict[int, str]] = {}
    for name in files.names:
        folder, _, word = stem(name).rpartition("/")
        k = words.get(word, int(word) if word.isdecimal() else -1)
        if not folder or not 0 <= k < (len(words) or 1 << 16):
            return None
        if k in folders.setdefault(folder, {}):
            raise DataError(
                f"{folders[folder][k]} and {name} are both of class {k}",
                "which of them is meant is not known",
                "Leave one a class",
            )
        folders[folder][k] = name
    count = len(words) or 1 + max(max(found) for found in folders.values())
    for folder, found in folders.items():
        if len(found) < count:
            missing = next(k for k in range(count) if k not in found)
            raise DataError(
                f"{folder} of {files.place} holds {len(found)} of {count} classes, and none of class {missing}",
                "a class without predictions is none",
                "Write a grey image a class, called by its name or number",
            )
    return {folder: tuple(files.url(found[k]) for k in range(count)) for folder, found in folders.items()}


def _one_array_each(
    config: IngestConfig, classes: tuple[str, ...] | None, preset: Preset, options: Mapping[str, Any]
) -> Inputs:
    """One .npy of all labels (N, H, W) and one of all predictions, four axes, of which the first is the image's."""
    if config.images is not None or not config.predictions.endswith(".npy"):
        raise UsageError(
            f"labels are one array ({config.labels}), "
            + (f"images are {config.images}" if config.images else f"predictions are {config.predictions}"),
            "what belongs together is known by its place in arrays",
            "Give predictions as one .npy too, and no --images",
        )
    values = preset.forms.get("")
    if preset.forms and values is None and config.remap is None:
        raise UsageError(
            f"label values in {config.labels} may be any of {config.preset}'s kinds of ids",
            "what they stand for is not known",
            "Say it: --remap 7:0,8:1",
        )
    # workers may stand in other folders than this process
    urls = [local_path(url) or url for url in (config.labels, config.predictions)]
    headers = [header_of(url, options) for url in urls]
    for url, header, axes in zip(urls, headers, (3, 4), strict=True):
        if len(header.shape) != axes or header.fortran:
            raise DataError(
                f"{url} has the shape {header.shape}" + (" in Fortran's order" if header.fortran else ""),
                "one image of it cannot be read alone",
                "Write labels (N, H, W) and predictions (N, K, H, W), with numpy.ascontiguousarray",
            )
    if np.dtype(headers[0].dtype).kind not in "iu":
        raise DataError(
            f"{config.labels} is stored as {np.dtype(headers[0].dtype).name}",
            "class numbers are integers",
            "Write them as integers (uint8 up to 256 values)",
        )
    if headers[0].shape[0] != headers[1].shape[0] or not headers[0].shape[0]:
        raise DataError(
            f"{config.labels} holds {headers[0].shape[0]:,} images, {config.predictions} {headers[1].shape[0]:,}",
            "which belongs to which is not known",
            "Give arrays of the same images",
        )
    pairs = tuple(InputPair(name, i, i) for i, name in enumerate(_names(config, headers[0].shape[0], options)))
    arrays = ((urls[0], headers[0]), (urls[1], headers[1]))
    return Inputs(pairs, "array", classes, values, rules=("labels and predictions: by place",), arrays=arrays)


def _names(config: IngestConfig, images: int, options: Mapping[str, Any]) -> Sequence[str]:
    if config.ids is None:
        return [""] * images
    with open_file(config.ids, options) as file:
        names = [line.decode("utf-8-sig").strip() for line in file]
    if len(names) != images or len(set(names)) < images:
        raise DataError(
            f"{config.ids} names {len(set(names)):,} images in {len(names):,} lines, and {config.labels} holds "
            f"{images:,}",
            "which is whose is not known",
            "Give a line an image, each of another name",
        )
    return names
