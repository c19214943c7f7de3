"""Export for FiftyOne, read by its importer: regions, given labels, scores and RGB images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import ExportedRun, decode_mask, export, read_with_tool
from support.results import read_files, read_rows


def test_fiftyone_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x") == 0
    content = read_with_tool("fiftyone", tmp_path / "x")
    assert content["targets"] == {str(k + 1): name for k, name in enumerate(run.classes)}
    assert content["classes"] == list(run.classes)
    field_types = {
        "image_id": "StringField",
        "dt": "StringField",
        "index": "IntField",
        "softmin": "FloatField",
        "clc": "FloatField",
        "regions": "EmbeddedDocumentField",
        "given": "EmbeddedDocumentField",
    }
    assert {name: content["schema"][name] for name in field_types} == field_types
    table = {(row["source"], row["index"]): row for row in read_rows(run.out)}
    images = [(sample["fields"]["source"], sample["fields"]["index"]) for sample in content["samples"]]
    assert images == run.ordered_images()
    for sample, (source, index) in zip(content["samples"], images, strict=True):
        row = table[source, index]
        scores = ("image_id", "dt", "softmin", "clc", "omission", "flagged_pixels", "valid_pixels")
        assert {name: sample["fields"][name] for name in scores} == {name: row[name] for name in scores}
        assert sample["has_image"]
        given = np.array(sample["given"])
        plane = run.labels[source][index][: given.shape[0], : given.shape[1]].astype(int)
        np.testing.assert_array_equal(given, np.where(plane < 4, plane + 1, 0))
        assert [region["rank"] for region in sample["regions"]] == run.ranks(source, index)
        for region in sample["regions"]:
            expected = run.regions[region["rank"]]
            np.testing.assert_array_equal(decode_mask(region["mask"]), expected.mask)
            assert {name: region[name] for name in expected.attributes} == expected.attributes
            assert region["label"] == expected.row["suggested_name"]
            assert region["confidence"] == expected.row["mean_predicted_confidence"]
            assert region["area"] == expected.mask.sum()


def check_many_classes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x") == 0
    content = read_with_tool("fiftyone", tmp_path / "x")
    (sample,) = content["samples"]
    plane = run.labels["s"][0].astype(int)
    np.testing.assert_array_equal(np.array(sample["given"]), np.where(plane < len(run.classes), plane + 1, 0))
    assert content["targets"][str(len(run.classes))] == run.classes[-1]


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    check_many_classes(run_255_classes, tmp_path)


def test_300_classes_are_supported(run_300_classes: ExportedRun, tmp_path: Path) -> None:
    check_many_classes(run_300_classes, tmp_path)


def test_export_without_regions_has_no_samples(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert json.loads((tmp_path / "x/samples.json").read_text()) == {"samples": []}
    assert read_with_tool("fiftyone", tmp_path / "x")["samples"] == []


def test_labels_and_regions_are_exported_without_rgb_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x", "--pictures", "false") == 0
    names = set(read_files(tmp_path / "x"))
    assert not any(name.startswith("data/") for name in names)
    assert len([name for name in names if name.startswith("fields/given/")]) == len(run.ordered_images())
