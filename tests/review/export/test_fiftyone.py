"""FiftyOne: its own importer opens the folder and finds regions, given labels, scores and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import ExportedRun, decode_mask, export, read_with_tool
from support.results import read_files, read_rows


def test_fiftyone_reads_all_regions(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x") == 0
    found = read_with_tool("fiftyone", tmp_path / "x")
    assert found["targets"] == {str(k + 1): name for k, name in enumerate(run.classes)}
    assert found["classes"] == list(run.classes)
    wanted = {
        "image_id": "StringField",
        "dt": "StringField",
        "index": "IntField",
        "softmin": "FloatField",
        "clc": "FloatField",
        "regions": "EmbeddedDocumentField",
        "given": "EmbeddedDocumentField",
    }
    assert {name: found["schema"][name] for name in wanted} == wanted
    table = {(row["source"], row["index"]): row for row in read_rows(run.out)}
    places = [(one["plain"]["source"], one["plain"]["index"]) for one in found["samples"]]
    assert places == run.ordered_images()
    for one, place in zip(found["samples"], places, strict=True):
        row = table[place]
        scores = ("image_id", "dt", "softmin", "clc", "omission", "flagged_pixels", "valid_pixels")
        assert {name: one["plain"][name] for name in scores} == {name: row[name] for name in scores}
        assert one["picture"]
        given = np.array(one["given"])
        plane = run.labels[place[0]][place[1]][: given.shape[0], : given.shape[1]].astype(int)
        np.testing.assert_array_equal(given, np.where(plane < 4, plane + 1, 0))
        assert [region["rank"] for region in one["regions"]] == run.ranks(*place)
        for region in one["regions"]:
            known = run.regions[region["rank"]]
            np.testing.assert_array_equal(decode_mask(region["mask"]), known.mask)
            assert {name: region[name] for name in known.attributes} == known.attributes
            assert region["label"] == known.row["suggested_name"]
            assert region["confidence"] == known.row["mean_predicted_confidence"]
            assert region["area"] == known.mask.sum()


def check_many(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run_255_classes.out, tmp_path / "x") == 0
    found = read_with_tool("fiftyone", tmp_path / "x")
    (one,) = found["samples"]
    plane = run_255_classes.labels["s"][0].astype(int)
    np.testing.assert_array_equal(np.array(one["given"]), np.where(plane < len(run_255_classes.classes), plane + 1, 0))
    assert found["targets"][str(len(run_255_classes.classes))] == run_255_classes.classes[-1]


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    check_many(run_255_classes, tmp_path)


def test_300_classes_are_supported(run_300_classes: ExportedRun, tmp_path: Path) -> None:
    check_many(run_300_classes, tmp_path)


def test_export_without_regions_has_no_samples(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert json.loads((tmp_path / "x/samples.json").read_text()) == {"samples": []}
    assert read_with_tool("fiftyone", tmp_path / "x")["samples"] == []


def test_labels_and_regions_are_exported_without_rgb_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("fiftyone", run.out, tmp_path / "x", "--pictures", "false") == 0
    names = set(read_files(tmp_path / "x"))
    assert not any(name.startswith("data/") for name in names)
    assert len([name for name in names if name.startswith("fields/given/")]) == len(run.ordered_images())
