"""Read YOLO: a text file per image, a line per object with class number and polygon or box."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from masksift.annotations.shapes import ClassNumbers, Shape, ShapeFiles, ShapeLabels
from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.storage.files import Files, find_files, open_file

_NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")
_NO_LABELS = re.compile(
    r"(autosplit_)?(train|val|valid|test|trainval)\.txt|(readme|classes|labelmap)\.txt", re.IGNORECASE
)
"""Names of text files that hold no labels: lists of images, and what exports add."""
_LINE = re.compile(rb"\s*\d+(\s+-?[\d.]+([eE][-+]?\d+)?){4,}\s*$")


def find_yolo(place: str, options: Mapping[str, Any]) -> Files | None:
    """List the .txt files of a directory or a glob if the first one with content is YOLO's."""
    try:
        files = find_files(place, options, (".txt",))
    except DataError:
        return None
    names = tuple(name for name in files.names if not _NO_LABELS.fullmatch(name.rpartition("/")[2]))
    for name in names:
        with open_file(files.url(name), options) as file:
            line = file.readline(1 << 20)
        if line.strip():
            return Files(files.place, files.root, names) if _LINE.match(line) else None
    return None


def read_yolo(
    files: Files, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    """Read the shapes of each image in the order of its file, later ones over earlier ones.

    Args:
        files: Files that `find_yolo` found.
        options: Storage options.
        classes: Class names of the configuration, which without such a file are those of the class numbers, the
            background apart; by default those of `classes.txt` or `data.yaml` in the directory of
            the labels, or in one of the two above it.
        background: Class of pixels without a shape.

    Returns:
        One label per file, whose size is that of its image.

    Raises:
        DataError: A file is not as YOLO writes it, or nothing names the classes.
    """
    urls = tuple(files.url(name) for name in files.names)
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        rows = list(pool.map(lambda url: _read(url, options), urls))
    count = 1 + max((number for objects in rows for number, _ in objects), default=-1)
    stored = _class_names(files.root, options)
    if stored is None:
        if classes is None:
            raise DataError(
                f"No {', '.join(_NAME_FILES)} in {files.root} or above names the classes of the labels",
                "Pass --classes in the order of the class numbers",
            )
        stored = [name for name in classes if name != background]
    if count > len(stored):
        raise DataError(
            f"{files.place} has objects of class {count - 1}, but there are {len(stored)} names",
            "Pass --classes in the order of the class numbers",
        )
    numbers = ClassNumbers(stored, classes, background, files.place)
    labels = tuple(
        ShapeLabels(0, 0, tuple(Shape(numbers[stored[k]], (polygon,)) for k, polygon in objects), relative=True)
        for objects in rows
    )
    # Ultralytics finds the image of labels/train/a.txt as images/train/a.jpg
    names = tuple(re.sub(r"(^|/)labels/", r"\1", name, count=1) for name in files.names)
    ids = tuple(re.sub(r"(^|/)labels/", r"\1images/", name, count=1).removesuffix(".txt") for name in files.names)
    return ShapeFiles(numbers.names, names, labels, urls, ids, numbers.background)


def _read(url: str, options: Mapping[str, Any]) -> list[tuple[int, tuple[float, ...]]]:
    """Read class number and polygon of each object, in shares of width and height."""
    with open_file(url, options) as file:
        lines = file.read().decode("utf-8-sig", "replace").splitlines()
    objects = []
    for position, line in enumerate(lines, 1):
        if not (words := line.split()):
            continue
        try:
            number, values = int(words[0]), tuple(map(float, words[1:]))
            if number < 0 or not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
                raise ValueError(f"{len(values)} numbers follow the class")
        except ValueError as e:
            raise DataError(
                f"Line {position} of {url} is not an object of YOLO ({e})",
                "Write the class number, then x and y of each corner, or x, y, width and height of a box",
            ) from e
        if len(values) == 4:
            x, y, w, h = values[0], values[1], values[2] / 2, values[3] / 2
            values = (x - w, y - h, x + w, y - h, x + w, y + h, x - w, y + h)
        objects.append((number, values))
    return objects


def _class_names(root: str, options: Mapping[str, Any]) -> list[str] | None:
    """Read the class names next to the labels, or up to two directories above."""
    for directory in (root, root.rpartition("/")[0], root.rpartition("/")[0].rpartition("/")[0]):
        for name in _NAME_FILES if directory else ():
            try:
                with open_file(f"{directory}/{name}", options) as file:
                    text = file.read(1 << 20).decode("utf-8-sig")
            except DataError:
                continue
            except UnicodeDecodeError as e:
                raise DataError(
                    f"{directory}/{name} is not text in UTF-8 ({e})", "Save the class names as UTF-8"
                ) from e
            names = (
                _yaml_names(text) if name.endswith(".yaml") else [line.strip() for line in text.strip().splitlines()]
            )
            if any(names):
                return [name or f"class {k}" for k, name in enumerate(names)]  # an empty line has a number, too
    return None


def _yaml_names(text: str) -> list[str]:
    """Return the entry `names` of a data.yaml, a list or a map from class numbers; [] without it."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return []
    names = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(names, dict) and {*names} == {*range(len(names))}:
        names = [names[k] for k in sorted(names)]
    # aliases can nest lists that are too long to be printed
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        return []
    return [str(name) for name in names]
