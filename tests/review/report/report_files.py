"""Read reports back from their files, and write sources with RGB images."""

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

__all__ = ["Page", "make_rgb", "parse_calls", "write_rgb_source"]


def parse_calls(text: str) -> list[tuple[str, list[Any]]]:
    """Parse the script calls of a file into function names and arguments."""
    matches = [re.fullmatch(r"masksift\.(\w+)\((.*)\);", line) for line in text.removesuffix("\n").split("\n")]
    assert all(matches), "one call per line"
    return [(call[1], json.loads(f"[{call[2]}]")) for call in matches if call]


@dataclass(frozen=True)
class Page:
    """The report of a run."""

    out: Path

    @property
    def directory(self) -> Path:
        return self.out / "report"

    def _calls(self, pattern: str) -> list[tuple[str, list[Any]]]:
        files = sorted((self.directory / "data").glob(pattern))
        return [call for file in files for call in parse_calls(file.read_text("ascii"))]

    @cached_property
    def summary(self) -> dict[str, Any]:
        ((name, (summary,)),) = self._calls("run.js")
        assert name == "run"
        return dict(summary)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the page as dictionaries from column to value."""
        rows = []
        for number, (name, (file, columns)) in enumerate(self._calls("rows-*.js")):
            assert (name, file) == ("rows", number)
            flat = {key: value for key, value in columns.items() if key not in ("scores", "columns")}
            flat |= columns["scores"] | columns["columns"]
            assert len(set(map(len, flat.values()))) == 1
            rows += [dict(zip(flat, values, strict=True)) for values in zip(*flat.values(), strict=True)]
        return rows

    @cached_property
    def regions(self) -> list[list[list[Any]]]:
        regions = []
        for number, (name, (file, rows)) in enumerate(self._calls("regions-*.js")):
            assert (name, file) == ("regions", number)
            regions += rows
        return regions

    @property
    def image_files(self) -> set[str]:
        return {path.name for path in (self.directory / "pictures").glob("*")}

    def rgb(self, number: int) -> Array:
        """Decode the RGB image of a row, (h, w, 3)."""
        (rgb,) = self._cells(number, "jpg", 1)
        return rgb

    def planes(self, number: int) -> dict[str, Array]:
        """Decode the planes of a row by letter: palette indices, or RGBA colors."""
        order = self.summary["planes"]
        cells = dict(zip(order, self._cells(number, "png", len(order)), strict=True))
        return {letter: cells[letter] for letter in self.rows[number]["planes"]}

    def _cells(self, number: int, extension: str, planes: int) -> list[Array]:
        """Decode the pictures of a row from the file of its sheet."""
        first, position, images, rows, columns = self.rows[number]["sheet"]
        height, width = self.rows[number]["view_size"]
        sheet = np.asarray(Image.open(self.directory / f"pictures/{first:08d}.{extension}"))
        assert sheet.shape[:2] == (images * planes * rows, columns)
        cells = np.split(sheet, images * planes)[position * planes : (position + 1) * planes]
        top = (rows - height) // 2
        return [cell[top : top + height, :width] for cell in cells]


def make_rgb(data: Data, seed: int = 5) -> Array:
    """Make RGB images (N, H, W, 3) uint8, smooth so that JPEG preserves them."""
    n, height, width = data.labels.shape
    ramp = np.linspace(0, 60, height)[:, None, None] + np.linspace(0, 60, width)[None, :, None]
    base = np.random.default_rng(seed).integers(0, 130, (n, 1, 1, 3))
    return (base + ramp).astype(np.uint8)


def write_rgb_source(path: Path, data: Data, *, classes: Sequence[str] = (), **more: Any) -> Source:
    """Write a source with RGB images, two per chunk."""
    source = write_source(path, data, **more)
    group = zarr.open_group(path, mode="a")
    write_array(group, "images", make_rgb(data), "nyxc", "nyxc", (2, *data.labels.shape[1:], 3), None)
    if classes:
        group.attrs["class_names"] = list(classes)
    return source
