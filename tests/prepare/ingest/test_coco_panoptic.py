"""COCO panoptic: segment ids as colors, categories in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from prepare.ingest.helpers import assert_ingest_fails, read_source, save_image
from support.cli import run_cli
from support.sources import make_data

CATEGORIES = [{"id": number, "name": name} for number, name in ((1, "road"), (7, "sky"), (8, "car"), (90, "tree"))]
DATA = make_data(images=3)
IDS = ("4", "5", "6")


def write_release(path: Path, names: tuple[str, ...] = IDS) -> tuple[object, ...]:
    """Write three images with one segment per class, ids above 16 bits, and return the arguments of their ingest."""
    annotations = []
    for i, label in enumerate(DATA.labels):
        segments = {k: 70_000 + 1000 * i + k for k in range(4) if (label == k).any()}
        numbers = np.zeros(label.shape, np.int64)
        for k, number in segments.items():
            numbers[label == k] = number
        colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
        save_image(path / "panoptic_val" / f"{i:012d}.png", colors)
        annotations.append(
            {
                "image_id": int(IDS[i]),
                "file_name": f"{i:012d}.png",
                "segments_info": [{"id": n, "category_id": CATEGORIES[k]["id"]} for k, n in segments.items()],
            }
        )
        (path / "predictions").mkdir(exist_ok=True)
        np.save(path / "predictions" / f"{names[i]}.npy", DATA.predictions[i])
    tree = {"annotations": annotations[::-1], "categories": CATEGORIES}
    (path / "panoptic_val.json").write_text(json.dumps(tree))
    return ("--labels", path / "panoptic_val.json", "--predictions", path / "predictions", "--out", path / "new.zarr")


@pytest.mark.parametrize("names", [("000000000000", "000000000001", "000000000002"), IDS])
def test_segments_become_the_classes_of_their_categories(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert run_cli("ingest", *write_release(tmp_path, names)) == 0
    arrays = read_source(tmp_path / "new.zarr")
    np.testing.assert_array_equal(arrays["labels"], DATA.labels)
    np.testing.assert_array_equal(arrays["predictions"], DATA.predictions)
    assert arrays["image_id"].tolist() == list(names)
    assert zarr.open_group(tmp_path / "new.zarr", mode="r").attrs["class_names"] == ["road", "sky", "car", "tree"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree: tree["annotations"][1]["segments_info"].pop(0),
            r"000000000001.png holds the id 71000 at row \d+, column \d+ \(pixels: \d+\), which no segment",
        ),
        (lambda tree: tree.pop("categories"), r"is not a COCO panoptic annotation \(KeyError: 'categories'\)"),
        (lambda tree: tree["categories"].pop(0), "png of .* has a segment of category 1, which does not exist"),
        (lambda tree: tree["annotations"][0].update(file_name="x.png"), r"lacks 1 of the 3 PNG .*the first: x.png"),
    ],
)
def test_inconsistent_annotations_are_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = write_release(tmp_path)
    tree = json.loads((tmp_path / "panoptic_val.json").read_text())
    change(tree)
    (tmp_path / "panoptic_val.json").write_text(json.dumps(tree))
    assert_ingest_fails(message, capsys, *args)


def test_options_that_contradict_the_categories_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = write_release(tmp_path)
    message = "COCO panoptic .*, whose categories are the classes. Drop --remap, --ignore and --colors"
    assert_ingest_fails(message, capsys, *args, "--ignore", 0)
    assert_ingest_fails("has 4 categories, but --classes names 2", capsys, *args, "--classes", "a,b")
    (tmp_path / "panoptic_val.json").write_text("{")
    assert_ingest_fails("panoptic_val.json is not valid JSON", capsys, *args)
