"""Names that travel: of files, made of image ids that may hold anything; of classes, in formats that forbid much."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

MAX_PART_BYTES = 120
"""Bytes of a part of a path: file systems end at 255."""
_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FileNames:
    """Gives each image a path without an ending that every file system takes: letters and digits of any script, `-`,
    `_` and dots inside; folders where the id has slashes; no two the same, whatever a file system makes of capitals."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, image_id: str) -> str:
        """A path for the next image. The same ids in the same order have the same paths.

        >>> FileNames().name("aachen/../Bild 7.jpg")
        'aachen/__/Bild_7'
        """
        text = unicodedata.normalize("NFC", image_id)
        for ending in _ENDINGS:
            if text.lower().endswith(ending):
                text = text[: -len(ending)]
                break
        parts = [_part(part) for part in text.replace("\\", "/").split("/") if part] or ["_"]
        # a folder that is called like a picture would be in the way of that picture
        folders = [f"{part}_" if part.lower().endswith(_ENDINGS) else part for part in parts[:-1]]
        path = plain = "/".join([*folders, parts[-1]])
        again = 1
        while path.casefold() in self._taken:
            again += 1
            path = f"{plain}_{again}"
        self._taken.add(path.casefold())
        return path


def _part(text: str) -> str:
    """One part of a path."""
    safe = re.sub(r"[^\w.-]", "_", text)
    safe = re.sub(r"^[.-]|\.$", "_", safe)  # hidden, a flag, or lost on Windows
    if len(safe.encode()) > MAX_PART_BYTES:
        safe = safe.encode()[:MAX_PART_BYTES].decode(errors="ignore")
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe


def make_unique(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes, none of them empty and no two the same: tools know a class by its name alone.

    >>> once_each(["road", "", "road"])
    ('road', 'class 1', 'road (2)')
    """
    found: dict[str, None] = {}
    for number, name in enumerate(names):
        plain = unique = name.strip() or f"class {number}"
        again = 1
        while unique in found:
            again += 1
            unique = f"{plain} ({again})"
        found[unique] = None
    return tuple(found)


def xml_safe(texts: Sequence[str]) -> tuple[str, ...]:
    """Names as XML can hold them: without the control characters that it knows no way to write, on one line."""
    return make_unique(re.sub(r"\s", " ", _NO_XML.sub("\ufffd", text)) for text in texts)
