"""Portable file names from image ids, and class names that formats accept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

MAX_PART_BYTES = 120
"""Length of a path component; file systems allow 255 bytes."""
IMAGES_FILE = "images.csv"
"""File of an export with the name, source and index of each image."""
_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FileNames:
    """Map image ids to unique relative paths that every file system accepts.

    Paths have no extension and consist of letters and digits of any script, `-`, `_` and inner dots. Slashes of an id
    separate directories. Uniqueness ignores case.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, image_id: str) -> str:
        """Return the path of the next image; equal sequences of ids give equal paths.

        Args:
            image_id: Any text.

        Returns:
            A relative path.

        >>> FileNames().name("aachen/../Bild 7.jpg")
        'aachen/__/Bild_7'
        """
        text = without_extension(image_id)
        *parents, name = [_component(part) for part in text.replace("\\", "/").split("/") if part] or ["_"]
        # a directory called like an image file could conflict with that file
        parents = [f"{parent}_" if parent.lower().endswith(_EXTENSIONS) else parent for parent in parents]
        path = plain = "/".join([*parents, name])
        number = 1
        while path.casefold() in self._taken:
            number += 1
            path = f"{plain}_{number}"
        self._taken.add(path.casefold())
        return path


def without_extension(name: str) -> str:
    """Return the name of an image in the Unicode form NFC, without the extension of an image file."""
    text = unicodedata.normalize("NFC", name)
    extension = next((extension for extension in _EXTENSIONS if text.lower().endswith(extension)), "")
    return text.removesuffix(text[len(text) - len(extension) :])


def _component(text: str) -> str:
    safe = re.sub(r"[^\w.-]", "_", text)
    safe = re.sub(r"^[.-]|\.$", "_", safe)  # hidden files, flags, and dots that Windows drops
    if len(safe.encode()) > MAX_PART_BYTES:
        safe = safe.encode()[:MAX_PART_BYTES].decode(errors="ignore")
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe


def make_unique(names: Iterable[str]) -> tuple[str, ...]:
    """Make class names non-empty and unique, because tools identify classes by name.

    Args:
        names: Class names.

    Returns:
        The names, numbered where needed.

    >>> make_unique(["road", "", "road"])
    ('road', 'class 1', 'road (2)')
    """
    used: dict[str, None] = {}
    for number, name in enumerate(names):
        plain = unique = name.strip() or f"class {number}"
        repetition = 1
        while unique in used:
            repetition += 1
            unique = f"{plain} ({repetition})"
        used[unique] = None
    return tuple(used)


def xml_safe(texts: Sequence[str]) -> tuple[str, ...]:
    """Make unique names without line breaks and without characters that XML cannot represent."""
    return make_unique(re.sub(r"\s", " ", _INVALID_XML.sub("\ufffd", text)) for text in texts)


def label_map_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Make class names valid in a label map of CVAT: no colons, no leading `#`; `background` means no label."""
    plain = xml_safe(tuple(name.replace(":", "_") for name in names))
    plain = tuple(f"_{name[1:]}" if name.startswith("#") else name for name in plain)
    return xml_safe(tuple(f"{name} (class)" if name == "background" else name for name in plain))
