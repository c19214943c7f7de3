"""Datumaro's own format: its reader finds every pixel, class and attribute, and the scores of the images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import ExportedRun, decode_mask, export, read_with_tool


def test_datumaro_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run.out, tmp_path / "x") == 0
    found = read_with_tool("datumaro", tmp_path / "x", "datumaro")
    assert found["labels"] == list(run.classes)
    assert [
        (item["attributes"]["source"], item["attributes"]["index"]) for item in found["items"]
    ] == run.ordered_images()
    for item in found["items"]:
        source, index = item["attributes"]["source"], item["attributes"]["index"]
        stored, ranks = run.pictures[source], run.ranks(source, index)
        assert item["picture"] == (stored is not None)
        height, width = item["size"]
        if stored is not None:
            assert item["pixels"] == stored[index, :height, :width].sum()
        assert 0 <= item["attributes"]["softmin"] <= 1
        assert [one["id"] for one in item["regions"]] == ranks
        for rank, one in zip(ranks, item["regions"], strict=True):
            known = run.regions[rank]
            np.testing.assert_array_equal(decode_mask(one["mask"]), known.mask)
            assert one["label"] == known.row["suggested_name"]
            assert one["attributes"] == {**known.attributes, "score": known.row["mean_predicted_confidence"]}
            assert (height, width) == known.mask.shape


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run_255_classes.out, tmp_path / "x") == 0
    found = read_with_tool("datumaro", tmp_path / "x", "datumaro")
    assert found["labels"] == list(run_255_classes.classes)
    (item,) = found["items"]
    assert [one["label"] for one in item["regions"]] == [
        one.row["suggested_name"] for one in run_255_classes.regions.values()
    ]


def test_export_without_regions_has_no_items(run: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run.out, tmp_path / "x", "--min_area", 1000) == 0
    tree = json.loads((tmp_path / "x/annotations/default.json").read_text())
    assert (tree["dm_format_version"], tree["items"]) == ("1.0", [])
    assert [label["name"] for label in tree["categories"]["label"]["labels"]] == list(run.classes)
    assert read_with_tool("datumaro", tmp_path / "x", "datumaro") == {"labels": list(run.classes), "items": []}
