"""What a report says, read back from its files, and sources with pictures for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image

from support.datasets import Array, Data
from support.sources import Source, write_array, write_source

__all__ = ["Page", "calls", "photographed", "pictures_of"]


def calls(text: str) -> list[tuple[str, list[Any]]]:
    """The calls of the page's program in a file: the name and the values of each."""
    found = [re.fullmatch(r"masksift\.(\w+)\((.*)\);", line) for line in text.removesuffix("\n").split("\n")]
    assert all(found), "a call is one line, whatever it holds"
    return [(call[1], json.loads(f"[{call[2]}]")) for call in found if call]


@dataclass(frozen=True)
class Page:
    """The report of a run."""

    out: Path

    @property
    def folder(self) -> Path:
        return self.out / "report"

    def _calls(self, pattern: str) -> list[tuple[str, list[Any]]]:
        files = sorted((self.folder / "data").glob(pattern))
        return [call for file in files for call in calls(file.read_text("ascii"))]

    @cached_property
    def facts(self) -> dict[str, Any]:
        ((name, (told,)),) = self._calls("run.js")
        assert name == "run"
        return dict(told)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row an image, with what is told of it in columns."""
        found = []
        for number, (name, (own, columns)) in enumerate(self._calls("rows-*.js")):
            assert (name, own) == ("rows", number)
            flat = {key: value for key, value in columns.items() if key not in ("scores", "columns")}
            flat |= columns["scores"] | columns["columns"]
            assert len(set(map(len, flat.values()))) == 1, "columns of one length"
            found += [dict(zip(flat, values, strict=True)) for values in zip(*flat.values(), strict=True)]
        return found

    @cached_property
    def regions(self) -> list[list[list[Any]]]:
        found = []
        for number, (name, (own, some)) in enumerate(self._calls("regions-*.js")):
            assert (name, own) == ("regions", number)
            found += some
        return found

    @property
    def pictures(self) -> set[str]:
        return {path.name for path in (self.folder / "pictures").glob("*")}

    def picture(self, number: int) -> Array:
        """(h, w, 3), as it decodes."""
        return np.asarray(Image.open(self.folder / f"pictures/{number:08d}.jpg"))

    def bands(self, number: int) -> dict[str, Array]:
        """The planes of a row by their letters: palette indices, or colours with their opacity."""
        image = Image.open(self.folder / f"pictures/{number:08d}.png")
        height, width = self.rows[number]["view_size"]
        letters = self.rows[number]["planes"]
        assert image.size == (width, height * len(letters))
        return dict(zip(letters, np.split(np.asarray(image), len(letters)), strict=True))


def pictures_of(data: Data, seed: int = 5) -> Array:
    """A picture an image, (N, H, W, 3) uint8: smooth, so that JPEG keeps it."""
    n, height, width = data.labels.shape
    ramp = np.linspace(0, 60, height)[:, None, None] + np.linspace(0, 60, width)[None, :, None]
    base = np.random.default_rng(seed).integers(0, 130, (n, 1, 1, 3))
    return (base + ramp).astype(np.uint8)


def photographed(path: Path, data: Data, *, classes: Sequence[str] = (), **more: Any) -> Source:
    """A source with pictures, two a chunk."""
    source = write_source(path, data, **more)
    group = zarr.open_group(path, mode="a")
    write_array(group, "images", pictures_of(data), "nyxc", "nyxc", (2, *data.labels.shape[1:], 3), None)
    if classes:
        group.attrs["class_names"] = list(classes)
    return source
