"""Input files for ingest tests, and readers of what an ingest writes."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from masksift.prepare.ingest import tasks
from support.cli import error_message, run_cli
from support.datasets import Array, Data
from support.sources import make_data

__all__ = [
    "NAMES",
    "InputFiles",
    "assert_ingest_fails",
    "fail_at_fourth_image",
    "ingest",
    "read_by_id",
    "read_record",
    "read_source",
    "save_image",
    "save_png16",
]

NAMES = ("road", "sky", "car", "tree")


class InputFiles:
    """Directory `labels` with a PNG per image, and directory `predictions` with an .npy of the same name."""

    def __init__(self, path: Path, data: Data | None = None) -> None:
        self.data = data or make_data(images=5)
        self.names = [f"scene_{i:02d}" for i in range(len(self.data.labels))]
        self.labels, self.predictions, self.out = path / "labels", path / "predictions", path / "new.zarr"
        for name, label in zip(self.names, self.data.labels, strict=True):
            save_image(self.labels / f"{name}.png", label)
        self.save_predictions(self.data.predictions)

    def save_predictions(self, predictions: Sequence[Array]) -> None:
        for name, prediction in zip(self.names, predictions, strict=True):
            self.save(f"{name}.npy", prediction)

    def save(self, name: str, prediction: Array) -> None:
        """Write one prediction file."""
        (self.predictions / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(self.predictions / name, prediction)

    def remove_predictions(self) -> None:
        for file in self.predictions.glob("*.npy"):
            file.unlink()

    def args(self, *more: object) -> tuple[object, ...]:
        return ("--labels", self.labels, "--predictions", self.predictions, "--out", self.out, "--ignore", 255, *more)


def save_image(path: Path, values: Array, palette: Sequence[int] | None = None, **options: Any) -> None:
    """Write integers (H, W), or colors (H, W, 3), without conversion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path, **options)


def save_png16(path: Path, values: Array) -> None:
    """Write (H, W, 3) uint16 as a PNG with 16 bits per channel, which Pillow cannot; rows use the filter "up"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    lines = b"".join(b"\x02" + line.tobytes() for line in rows - above)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


def ingest(inputs: InputFiles, *more: object) -> int:
    """Run an ingest in this process and return its exit code."""
    return run_cli("ingest", *inputs.args(*more))


def assert_ingest_fails(match: str, capsys: pytest.CaptureFixture[str], *args: object) -> None:
    """Check that the ingest exits with 2 and a message that matches."""
    capsys.readouterr()
    assert run_cli("ingest", *args) == 2
    message = error_message(capsys)
    assert re.search(match, message), message


def read_source(out: Path) -> dict[str, Array]:
    """Read all arrays of a source."""
    return {name: np.asarray(array[...]) for name, array in zarr.open_group(out, mode="r").arrays()}


def read_by_id(out: Path) -> dict[str, tuple[Array, Array]]:
    """Read predictions and labels by image id."""
    arrays = read_source(out)
    triples = zip(arrays["image_id"].tolist(), arrays["predictions"], arrays["labels"], strict=True)
    return {name: (predictions, labels) for name, predictions, labels in triples}


def read_record(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "ingest/zarr.json").read_text())["attributes"]
    return record


def fail_at_fourth_image(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the fourth image that is written fail once; return the list to which the names of all images are added."""
    written: list[str] = []
    write_image = tasks._write_image

    def write(writer: Any, context: Any, pair: Any) -> None:
        written.append(pair.name)
        if len(written) == 4:
            raise OSError("disk full")
        write_image(writer, context, pair)

    monkeypatch.setattr(tasks, "_write_image", write)
    return written
