"""List the PNG masks of a directory or an archive, named by image."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import DataError
from masksift.review.imports.reviewed import PlaneFile
from masksift.storage.files import open_file
from masksift.storage.sources.fingerprint import iter_objects

MAX_TEXT_BYTES = 1 << 20
"""Size of a label map; larger ones are damaged."""


@dataclass(frozen=True)
class MaskFiles:
    """Files of a directory or a .zip archive.

    Attributes:
        url: URL of the directory or archive.
        names: Names of the files, sorted, with a text that identifies the content of each: size and checksum or time.
    """

    url: str
    names: Mapping[str, str]

    @property
    def is_archive(self) -> bool:
        """Return whether the files are members of an archive."""
        return is_archive(self.url)

    def planes(self, folder: str, colors: Mapping[int, int]) -> Iterator[tuple[str, PlaneFile]]:
        """Yield name, relative to a folder of any depth, and file of each PNG file below it."""
        for name, checksum in self.names.items():
            path = f"/{name}"
            if path.lower().endswith(".png") and folder in path and "/__MACOSX/" not in path:
                relative = path.partition(folder)[2]
                if self.is_archive:
                    yield relative, PlaneFile(self.url, name, checksum, colors)
                else:
                    yield relative, PlaneFile(f"{self.url.rstrip('/')}/{name}", None, checksum, colors)

    def read_text(self, name: str, options: Mapping[str, Any]) -> str:
        """Read a small text file. Raises DataError if it is damaged."""
        try:
            if not self.is_archive:
                with open_file(f"{self.url.rstrip('/')}/{name}", options) as file:
                    return file.read(MAX_TEXT_BYTES).decode()
            with (
                open_file(self.url, options) as stored,
                zipfile.ZipFile(stored) as archive,
                archive.open(name) as member,
            ):
                return member.read(MAX_TEXT_BYTES).decode()
        except (OSError, ValueError, zipfile.BadZipFile) as e:
            raise DataError(f"{name} in {self.url} cannot be read ({e})", "Export the annotations again") from e


def is_archive(url: str) -> bool:
    """Return whether a URL is that of a .zip archive."""
    return url.lower().endswith(".zip")


def list_masks(url: str, options: Mapping[str, Any], endings: tuple[str, ...] = (".png",)) -> MaskFiles:
    """List the files of a directory or a .zip archive by ending. Raises DataError without a match."""
    if is_archive(url):
        names = _list_members(url, options)
    else:
        names = {name: f"{size} {version}" for name, size, version in sorted(iter_objects(url, options))}
    names = {name: text for name, text in names.items() if name.lower().endswith(endings) and "/." not in f"/{name}"}
    if not names:
        raise DataError(f"{url} has no file of {', '.join(endings)}", "Pass what the annotation tool wrote")
    return MaskFiles(url, names)


def _list_members(url: str, options: Mapping[str, Any]) -> dict[str, str]:
    try:
        with open_file(url, options) as stored, zipfile.ZipFile(stored) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
    except zipfile.BadZipFile as e:
        raise DataError(f"{url} is not a .zip archive ({e})", "Download it again") from e
    return {member.filename: f"{member.file_size} {member.CRC:08x}" for member in members}
