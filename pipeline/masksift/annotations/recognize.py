"""Recognize annotation files by their content, and read them as shapes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from masksift.annotations.coco_instances import is_instances, parse_instances
from masksift.annotations.cvat_xml import ANNOTATIONS, read_cvat
from masksift.annotations.datumaro import is_datumaro, read_datumaro
from masksift.annotations.label_studio import is_label_studio, parse_label_studio
from masksift.annotations.labelme import find_labelme, read_labelme
from masksift.annotations.shapes import ShapeFiles
from masksift.annotations.supervisely import find_supervisely, read_supervisely
from masksift.annotations.yolo import find_yolo, read_yolo
from masksift.core.errors import DataError
from masksift.storage.files import Files, find_files, open_file, read_json
from masksift.storage.patterns import has_wildcard

Reader = Callable[[Sequence[str] | None, str | None], ShapeFiles]
"""Function that reads recognized files, with class names or None, and the class of the background or None."""

_Find = Callable[[str, Mapping[str, Any]], Files | None]
_Read = Callable[[Files, Mapping[str, Any], Sequence[str] | None, str | None], ShapeFiles]


def _find_datumaro(place: str, options: Mapping[str, Any]) -> Files | None:
    """List the .json files of a data set in the Datumaro format, or of its directory `annotations`."""
    for directory in (f"{place.rstrip('/')}/annotations", place):
        try:
            files = find_files(directory, options, (".json",))
            if is_datumaro(read_json(files.url(files.names[0]), options)):
                return files
        except DataError:  # other files
            continue
    return None


def _find_cvat(place: str, options: Mapping[str, Any]) -> Files | None:
    """Return the file annotations.xml of an unpacked archive of CVAT."""
    try:
        files = find_files(place, options, (".xml",))
    except DataError:
        return None
    return Files(files.place, files.root, (ANNOTATIONS,)) if ANNOTATIONS in files.names else None


def _read_cvat_directory(
    files: Files, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    return read_cvat(files.url(ANNOTATIONS), options, classes, background)


_DIRECTORIES: Mapping[str, tuple[_Find, _Read]] = {
    "CVAT": (_find_cvat, _read_cvat_directory),
    "Datumaro": (_find_datumaro, read_datumaro),
    "LabelMe": (find_labelme, read_labelme),
    "Supervisely": (find_supervisely, read_supervisely),
    "YOLO": (find_yolo, read_yolo),
}
"""Formats of a directory, of which most have a file per image or subset."""
_BESIDE_IMAGES = {"CVAT", "YOLO"}
"""Formats whose files say too little to be preferred to masks in the same directory."""
_MASKS = (".png", ".tif", ".tiff")


def find_annotations(labels: str, options: Mapping[str, Any], images: str | None = None) -> Reader | None:
    """Return the reader of annotations that are shapes; None for labels of pixels.

    Args:
        labels: URL of a file, or a directory or glob.
        options: Storage options.
        images: Directory or glob of the images, whose files are no masks; None without images.

    Returns:
        The reader.

    Raises:
        DataError: A file is damaged, an archive has no annotations, or a directory holds several kinds of labels.
    """
    place = labels.lower()
    if place.endswith(".zip"):
        _check_archive(labels, options)
    if place.endswith((".xml", ".zip")):
        return lambda classes, background: read_cvat(labels, options, classes, background)
    if place.endswith(".json") and not has_wildcard(labels):
        return _json_reader(labels, options)
    if place.endswith(".npy"):
        return None
    found = {name: files for name, (find, _) in _DIRECTORIES.items() if (files := find(labels, options)) is not None}
    if not found:
        return None
    examples = [f"{name} ({files.names[0]})" for name, files in found.items()]
    if found.keys() & _BESIDE_IMAGES and (mask := _spare_mask(labels, images, options)) is not None:
        examples.append(f"masks ({mask})")
    if len(examples) > 1:
        raise DataError(
            f"{labels} holds labels of {' and '.join(examples)}",
            "Any of them could be the labels",
            "Pass a directory or a quoted glob of one kind, such as 'DIRECTORY/*.txt'",
        )
    name, files = found.popitem()
    return _bind(_DIRECTORIES[name][1], files, options)


def _spare_mask(labels: str, images: str | None, options: Mapping[str, Any]) -> str | None:
    """Return an image among the labels that is not one of the images; None without any."""
    try:
        files = find_files(labels, options, _MASKS)
    except DataError:
        return None
    try:
        pictures = None if images is None else find_files(images, options, _MASKS)
    except DataError:
        pictures = None
    urls = set[str]() if pictures is None else set(map(pictures.url, pictures.names))
    return next((name for name in files.names if files.url(name) not in urls), None)


def _bind(read: _Read, files: Files, options: Mapping[str, Any]) -> Reader:
    return lambda classes, background: read(files, options, classes, background)


def _json_reader(labels: str, options: Mapping[str, Any]) -> Reader | None:
    tree = read_json(labels, options)
    if is_label_studio(tree):
        return lambda classes, background: parse_label_studio(tree, labels, classes, background)
    if is_instances(tree):
        return lambda classes, background: parse_instances(tree, labels, classes, background)
    if is_datumaro(tree):
        return _bind(read_datumaro, find_files(labels, options, (".json",)), options)
    return None


def _check_archive(labels: str, options: Mapping[str, Any]) -> None:
    try:
        with open_file(labels, options) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as e:
        raise DataError(f"{labels} is not a .zip archive ({e})", "Download it again") from e
    if ANNOTATIONS not in names:
        raise DataError(
            f"{labels} has no {ANNOTATIONS}, but {', '.join(names[:3])}",
            "Only `CVAT for images 1.1` is read from an archive",
            "Unpack it, and pass the directory of the labels",
        )
