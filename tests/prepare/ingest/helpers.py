"""Files of other tools, drawn by tests: masks, predictions, and what an ingest makes of them."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from support.datasets import Array, Data
from support.sources import complaint, masksift, plain

__all__ = ["NAMES", "Folder", "arrays", "ingest", "named", "record", "refused", "save_image", "save_wide_png"]

NAMES = ("road", "sky", "car", "tree")


class Folder:
    """A folder `labels` with a PNG an image, and a folder `predictions` with an .npy an image, of the same names."""

    def __init__(self, path: Path, data: Data | None = None, *, names: Sequence[str] = ()) -> None:
        self.data = data or plain(images=5)
        self.names = list(names) or [f"scene_{i:02d}" for i in range(len(self.data.labels))]
        self.labels, self.predictions, self.out = path / "labels", path / "predictions", path / "new.zarr"
        for name, label, prediction in zip(self.names, self.data.labels, self.data.predictions, strict=True):
            save_image(self.labels / f"{name}.png", label)
            self.save(f"{name}.npy", prediction)

    def save(self, name: str, prediction: Array) -> None:
        """Write one file of predictions, over the one that is there."""
        (self.predictions / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(self.predictions / name, prediction)

    def words(self, *more: object) -> tuple[object, ...]:
        return ("--labels", self.labels, "--predictions", self.predictions, "--out", self.out, *more)


def save_image(path: Path, values: Array, palette: Sequence[int] | None = None, **how: Any) -> None:
    """Write integers (H, W), or colours (H, W, 3), as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path, **how)


def save_wide_png(path: Path, values: Array) -> None:
    """Write (H, W, 3) uint16 as a PNG of 16 bits a channel, each row as the difference from the one above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    lines = b"".join(b"\x02" + line.tobytes() for line in rows - above)

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")
    )


def ingest(folder: Folder, *more: object) -> int:
    """The exit code of an ingest of the folder, in this process."""
    return masksift("ingest", *folder.words("--ignore", 255, *more))


def refused(match: str, capsys: pytest.CaptureFixture[str], *words: object) -> None:
    """The ingest ends in 2, with that sentence of three parts."""
    capsys.readouterr()
    assert masksift("ingest", *words) == 2
    said = complaint(capsys)
    assert re.search(match, said), said


def arrays(out: Path) -> dict[str, Array]:
    """All arrays of a source, by name."""
    return {name: np.asarray(array[...]) for name, array in zarr.open_group(out, mode="r").arrays()}


def named(out: Path) -> dict[str, tuple[Array, Array]]:
    """Predictions and labels by the image's name."""
    found = arrays(out)
    return {
        str(name): (found["predictions"][i], found["labels"][i]) for i, name in enumerate(found["image_id"].tolist())
    }


def record(out: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((out / "ingest/zarr.json").read_text())["attributes"]
    return found
