"""Which regions are exported: the first of the table that pass; the images in the order of their worst ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.config.load import build_config
from masksift.core.errors import DataError, MasksiftError, UsageError
from masksift.engine.completed_run import open_completed_run
from masksift.review.export.config import ExportConfig
from masksift.review.export.selection import ExportImage, select_images
from review.export.helpers import PADDED, Made
from support.errors import raises
from support.results import read_rows


def chosen(made: Made, **keys: Any) -> list[ExportImage]:
    config = ExportConfig(run=str(made.out), out="-", **keys)
    return select_images(open_completed_run(config.run, config.storage), config)


def ranks(images: list[ExportImage]) -> list[int]:
    return sorted(region.rank for image in images for region in image.regions)


def said(made: Made, tmp_path: Path, *verdicts: tuple[str, int, bool]) -> str:
    """A file of verdicts: (verdict, rank of a region, whether the whole image is meant)."""
    run = json.loads((made.out / "run.json").read_text())["fingerprint"]
    told = []
    for verdict, rank, whole in verdicts:
        row = made.regions[rank].row
        told.append(
            {
                "verdict": verdict,
                **{name: row[name] for name in ("image_id", "source", "index")},
                "region": None if whole else {"rank": rank},
            }
        )
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps({"format": 1, "run": run, "verdicts": told}))
    return str(file)


def test_images_come_in_the_order_of_their_worst_regions_with_all_that_are_theirs(made: Made) -> None:
    images = chosen(made)
    assert [(image.source, image.index) for image in images] == made.first()
    for image in images:
        assert [region.rank for region in image.regions] == made.of_image(image.source, image.index)
        assert image.facts["image_id"] == made.regions[image.regions[0].rank].row["image_id"]
    assert ranks(images) == list(made.regions)


def test_a_region_is_its_row_of_the_table(made: Made) -> None:
    for image in chosen(made):
        for region in image.regions:
            known = made.regions[region.rank]
            assert region.attributes(made.classes) == known.attributes
            assert region.area == known.mask.sum()
            full = np.zeros(image.size, bool)
            y0, x0, y1, x1 = region.box
            full[y0:y1, x0:x1] = region.mask(image.size[0])
            np.testing.assert_array_equal(full, known.mask)
    assert {image.size for image in chosen(made)} == {(8, 10), PADDED}


def test_an_image_carries_its_scores(made: Made) -> None:
    table = {(row["source"], row["index"]): row for row in read_rows(made.out)}
    for image in chosen(made):
        row = table[image.source, image.index]
        assert {name: row[name] for name in image.facts} == image.facts
        assert {"dt", "softmin", "clc", "flagged_pixels", "valid_pixels"} <= set(image.facts)


@pytest.mark.parametrize("top", [1, 3, 11, 50])
def test_top_counts_regions(made: Made, top: int) -> None:
    assert ranks(chosen(made, top=top)) == list(made.regions)[:top]


def test_small_regions_and_those_of_little_evidence_are_left_out_and_do_not_count(made: Made) -> None:
    areas = {rank: one.mask.sum() for rank, one in made.regions.items()}
    large = [rank for rank in made.regions if areas[rank] >= 7]
    assert ranks(chosen(made, min_area=7, top=4)) == large[:4]
    least = made.regions[5].row["evidence"]
    assert ranks(chosen(made, min_evidence=least)) == [1, 2, 3, 4, 5]


def test_what_is_rejected_is_left_out_and_what_is_accepted_is_all_that_stays(made: Made, tmp_path: Path) -> None:
    # the image of region 1 has region 4 too
    file = said(
        made,
        tmp_path,
        ("reject", 1, True),
        ("accept", 4, False),
        ("accept", 2, False),
        ("reject", 3, False),
        ("unsure", 5, False),
    )
    assert ranks(chosen(made, verdicts=file)) == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert ranks(chosen(made, verdicts=file, accepted=True)) == [2, 4]
    assert ranks(chosen(made, verdicts=file, top=1)) == [2]


def test_verdicts_on_another_run_are_refused(made: Made, tmp_path: Path) -> None:
    file = Path(said(made, tmp_path))
    file.write_text(file.read_text().replace('"run": "', '"run": "f00'))
    with raises(UsageError, match="are on the run f00"):
        chosen(made, verdicts=str(file))


@pytest.mark.parametrize(
    ("flags", "said", "kind"),
    [
        ({"out": "x", "accepted": "true"}, "accepted is true and no verdicts are given", UsageError),
        ({}, "--out is required", UsageError),
        ({"out": "x", "top": "0"}, "top must be a number greater than or equal to 1", UsageError),
        ({"out": "x", "tops": "3"}, "Unknown key 'tops'", UsageError),
    ],
)
def test_words_that_make_no_export_are_refused(flags: dict[str, str], said: str, kind: type[MasksiftError]) -> None:
    with raises(kind, match=said):
        build_config(ExportConfig, {"run": "run"}, flags)


def test_a_run_without_a_table_of_regions_is_refused(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/regions")
    with raises(DataError, match=r"holds no regions/part-\*.parquet"):
        chosen(Made(tmp_path / "out", {}, {}, {}, made.classes))
