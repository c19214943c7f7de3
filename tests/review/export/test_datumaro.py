"""Datumaro's own format: its reader finds every pixel, class and attribute, and the scores of the images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import Made, export, read, unpacked


def test_datumaro_reads_what_was_found(made: Made, tmp_path: Path) -> None:
    assert export("datumaro", made.out, tmp_path / "x") == 0
    found = read("datumaro", tmp_path / "x", "datumaro")
    assert found["labels"] == list(made.classes)
    assert [(item["attributes"]["source"], item["attributes"]["index"]) for item in found["items"]] == made.first()
    for item in found["items"]:
        source, index = item["attributes"]["source"], item["attributes"]["index"]
        stored, ranks = made.pictures[source], made.of_image(source, index)
        assert item["picture"] == (stored is not None)
        height, width = item["size"]
        if stored is not None:
            assert item["pixels"] == stored[index, :height, :width].sum()
        assert 0 <= item["attributes"]["softmin"] <= 1
        assert [one["id"] for one in item["regions"]] == ranks
        for rank, one in zip(ranks, item["regions"], strict=True):
            known = made.regions[rank]
            np.testing.assert_array_equal(unpacked(one["mask"]), known.mask)
            assert one["label"] == known.row["suggested_name"]
            assert one["attributes"] == {**known.attributes, "score": known.row["mean_predicted_confidence"]}
            assert (height, width) == known.mask.shape


def test_there_may_be_255_classes(crowded: Made, tmp_path: Path) -> None:
    assert export("datumaro", crowded.out, tmp_path / "x") == 0
    found = read("datumaro", tmp_path / "x", "datumaro")
    assert found["labels"] == list(crowded.classes)
    (item,) = found["items"]
    assert [one["label"] for one in item["regions"]] == [one.row["suggested_name"] for one in crowded.regions.values()]


def test_no_region_is_a_data_set_without_items(made: Made, tmp_path: Path) -> None:
    assert export("datumaro", made.out, tmp_path / "x", "--min_area", 1000) == 0
    tree = json.loads((tmp_path / "x/annotations/default.json").read_text())
    assert (tree["dm_format_version"], tree["items"]) == ("1.0", [])
    assert [label["name"] for label in tree["categories"]["label"]["labels"]] == list(made.classes)
    assert read("datumaro", tmp_path / "x", "datumaro") == {"labels": list(made.classes), "items": []}
