"""Export in Datumaro's format, read by Datumaro: regions, classes, attributes and image scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import ExportedRun, decode_mask, export, read_with_tool


def test_datumaro_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run.out, tmp_path / "x") == 0
    content = read_with_tool("datumaro", tmp_path / "x", "datumaro")
    assert content["labels"] == list(run.classes)
    assert [
        (item["attributes"]["source"], item["attributes"]["index"]) for item in content["items"]
    ] == run.ordered_images()
    for item in content["items"]:
        source, index = item["attributes"]["source"], item["attributes"]["index"]
        stored, ranks = run.rgb_images[source], run.ranks(source, index)
        assert item["has_image"] == (stored is not None)
        height, width = item["size"]
        if stored is not None:
            assert item["pixel_sum"] == stored[index, :height, :width].sum()
        assert 0 <= item["attributes"]["softmin"] <= 1
        assert [region["id"] for region in item["regions"]] == ranks
        for rank, region in zip(ranks, item["regions"], strict=True):
            expected = run.regions[rank]
            np.testing.assert_array_equal(decode_mask(region["mask"]), expected.mask)
            assert region["label"] == expected.row["suggested_name"]
            assert region["attributes"] == {**expected.attributes, "score": expected.row["mean_predicted_confidence"]}
            assert (height, width) == expected.mask.shape


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run_255_classes.out, tmp_path / "x") == 0
    content = read_with_tool("datumaro", tmp_path / "x", "datumaro")
    assert content["labels"] == list(run_255_classes.classes)
    (item,) = content["items"]
    assert [region["label"] for region in item["regions"]] == [
        region.row["suggested_name"] for region in run_255_classes.regions.values()
    ]


def test_export_without_regions_has_no_items(run: ExportedRun, tmp_path: Path) -> None:
    assert export("datumaro", run.out, tmp_path / "x", "--min_area", 1000) == 0
    tree = json.loads((tmp_path / "x/annotations/default.json").read_text())
    assert (tree["dm_format_version"], tree["items"]) == ("1.0", [])
    assert [label["name"] for label in tree["categories"]["label"]["labels"]] == list(run.classes)
    assert read_with_tool("datumaro", tmp_path / "x", "datumaro") == {"labels": list(run.classes), "items": []}
