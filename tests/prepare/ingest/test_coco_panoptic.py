"""COCO panoptic: segment ids in colours, categories in a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare.ingest.helpers import arrays, refused, save_image
from support.sources import masksift, plain

CATEGORIES = [{"id": number, "name": name} for number, name in ((1, "road"), (7, "sky"), (8, "car"), (90, "tree"))]
DATA = plain(images=3)


def panoptic(path: Path, names: tuple[str, ...] = ("a", "b", "c"), ids: tuple[int, ...] = (4, 5, 6)) -> Any:
    """A release of three images, each class of each image one segment of an id beyond 16 bits; answers its words."""
    annotations = []
    for i, label in enumerate(DATA.labels):
        segments = {k: 70_000 + 1000 * i + k for k in range(4) if (label == k).any()}
        numbers = np.zeros(label.shape, np.int64)
        for k, number in segments.items():
            numbers[label == k] = number
        colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
        save_image(path / "panoptic_val" / f"{i:012d}.png", colours)
        annotations.append(
            {
                "image_id": ids[i],
                "file_name": f"{i:012d}.png",
                "segments_info": [{"id": n, "category_id": CATEGORIES[k]["id"]} for k, n in segments.items()],
            }
        )
        (path / "predictions").mkdir(exist_ok=True)
        np.save(path / "predictions" / f"{names[i]}.npy", DATA.predictions[i])
    told = {"annotations": annotations[::-1], "categories": CATEGORIES}
    (path / "panoptic_val.json").write_text(json.dumps(told))
    return ("--labels", path / "panoptic_val.json", "--predictions", path / "predictions", "--out", path / "new.zarr")


@pytest.mark.parametrize("names", [("000000000000", "000000000001", "000000000002"), ("4", "5", "6")])
def test_segments_become_the_classes_of_their_categories(tmp_path: Path, names: tuple[str, str, str]) -> None:
    assert masksift("ingest", *panoptic(tmp_path, names)) == 0
    found = arrays(tmp_path / "new.zarr")
    np.testing.assert_array_equal(found["labels"], DATA.labels)
    np.testing.assert_array_equal(found["predictions"], DATA.predictions)
    assert found["image_id"].tolist() == list(names)
    import zarr

    assert zarr.open_group(tmp_path / "new.zarr", mode="r").attrs["class_names"] == ["road", "sky", "car", "tree"]


def spoil(path: Path, change: Any) -> None:
    tree = json.loads((path / "panoptic_val.json").read_text())
    change(tree)
    (path / "panoptic_val.json").write_text(json.dumps(tree))


def test_an_id_that_no_segment_has_is_refused_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = panoptic(tmp_path, ("4", "5", "6"))
    spoil(tmp_path, lambda tree: tree["annotations"][1]["segments_info"].pop(0))
    refused(
        r"000000000001.png holds the id 71000 at row \d+, column \d+ \(\d+ pixels of it\); no segment", capsys, *words
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree.pop("categories"), r"is no COCO panoptic annotation \(KeyError: 'categories'\)"),
        (lambda tree: tree["categories"].pop(0), "png of .* has a segment of category 1; there is no such category"),
        (lambda tree: tree["annotations"][0].update(file_name="x.png"), r"1 of the 3 PNG files .*the first: x.png"),
    ],
)
def test_annotations_that_do_not_fit_are_refused(
    tmp_path: Path, change: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = panoptic(tmp_path, ("4", "5", "6"))
    spoil(tmp_path, change)
    refused(said, capsys, *words)


def test_classes_are_those_of_the_categories_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = panoptic(tmp_path, ("4", "5", "6"))
    refused("labels are COCO panoptic .* with remap, ignore or colors given", capsys, *words, "--ignore", 0)
    refused("has 4 categories and 2 classes are named", capsys, *words, "--classes", "a,b")
    (tmp_path / "panoptic_val.json").write_text("{")
    refused(r"panoptic_val.json is no JSON", capsys, *words)
