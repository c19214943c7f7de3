"""FiftyOne: its own importer opens the folder and finds regions, given labels, scores and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from review.export.helpers import Made, export, read, unpacked
from support.results import read_files, read_rows


def test_fiftyone_opens_what_was_found(made: Made, tmp_path: Path) -> None:
    assert export("fiftyone", made.out, tmp_path / "x") == 0
    found = read("fiftyone", tmp_path / "x")
    assert found["targets"] == {str(k + 1): name for k, name in enumerate(made.classes)}
    assert found["classes"] == list(made.classes)
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
    table = {(row["source"], row["index"]): row for row in read_rows(made.out)}
    places = [(one["plain"]["source"], one["plain"]["index"]) for one in found["samples"]]
    assert places == made.first()
    for one, place in zip(found["samples"], places, strict=True):
        row = table[place]
        scores = ("image_id", "dt", "softmin", "clc", "omission", "flagged_pixels", "valid_pixels")
        assert {name: one["plain"][name] for name in scores} == {name: row[name] for name in scores}
        assert one["picture"]
        given = np.array(one["given"])
        plane = made.labels[place[0]][place[1]][: given.shape[0], : given.shape[1]].astype(int)
        np.testing.assert_array_equal(given, np.where(plane < 4, plane + 1, 0))
        assert [region["rank"] for region in one["regions"]] == made.of_image(*place)
        for region in one["regions"]:
            known = made.regions[region["rank"]]
            np.testing.assert_array_equal(unpacked(region["mask"]), known.mask)
            assert {name: region[name] for name in known.attributes} == known.attributes
            assert region["label"] == known.row["suggested_name"]
            assert region["confidence"] == known.row["mean_predicted_confidence"]
            assert region["area"] == known.mask.sum()


def check_many(crowded: Made, tmp_path: Path) -> None:
    assert export("fiftyone", crowded.out, tmp_path / "x") == 0
    found = read("fiftyone", tmp_path / "x")
    (one,) = found["samples"]
    plane = crowded.labels["s"][0].astype(int)
    np.testing.assert_array_equal(np.array(one["given"]), np.where(plane < len(crowded.classes), plane + 1, 0))
    assert found["targets"][str(len(crowded.classes))] == crowded.classes[-1]


def test_there_may_be_255_classes(crowded: Made, tmp_path: Path) -> None:
    check_many(crowded, tmp_path)


def test_there_may_be_more_than_a_byte_has_numbers(overcrowded: Made, tmp_path: Path) -> None:
    check_many(overcrowded, tmp_path)


def test_no_region_is_a_data_set_without_samples(made: Made, tmp_path: Path) -> None:
    assert export("fiftyone", made.out, tmp_path / "x", "--min_area", 1000) == 0
    assert json.loads((tmp_path / "x/samples.json").read_text()) == {"samples": []}
    assert read("fiftyone", tmp_path / "x")["samples"] == []


def test_without_pictures_labels_and_regions_are_there(made: Made, tmp_path: Path) -> None:
    assert export("fiftyone", made.out, tmp_path / "x", "--pictures", "false") == 0
    names = set(read_files(tmp_path / "x"))
    assert not any(name.startswith("data/") for name in names)
    assert len([name for name in names if name.startswith("fields/given/")]) == len(made.first())
