"""Selection of regions and order of images in exports."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.config.load import build_config
from masksift.core.errors import DataError, MasksiftError, UsageError
from masksift.engine.completed_run import open_completed_run
from masksift.review.export.config import ExportConfig
from masksift.review.export.selection import ExportImage, select_images
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import reranked_schema
from review.export.helpers import PADDED, ExportedRun
from support.errors import raises
from support.results import read_rows


def select(run: ExportedRun, **keys: Any) -> list[ExportImage]:
    config = ExportConfig(run=str(run.out), out="-", **keys)
    return select_images(open_completed_run(config.run, config.storage), config)


def region_ranks(images: list[ExportImage]) -> list[int]:
    return sorted(region.rank for image in images for region in image.regions)


def write_decisions(run: ExportedRun, tmp_path: Path, *verdicts: tuple[str, int, bool]) -> str:
    """Write a decisions file with entries (decision, rank of a region, decide on its whole image)."""
    fingerprint = json.loads((run.out / "run.json").read_text())["fingerprint"]
    entries = []
    for verdict, rank, whole in verdicts:
        row = run.regions[rank].row
        entries.append(
            {
                "verdict": verdict,
                **{name: row[name] for name in ("image_id", "source", "index")},
                "region": None if whole else {"rank": rank},
            }
        )
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps({"format": 1, "run": fingerprint, "verdicts": entries}))
    return str(file)


def test_images_are_ordered_by_their_worst_regions(run: ExportedRun) -> None:
    images = select(run)
    assert [(image.source, image.index) for image in images] == run.ordered_images()
    for image in images:
        assert [region.rank for region in image.regions] == run.ranks(image.source, image.index)
        assert image.columns["image_id"] == run.regions[image.regions[0].rank].row["image_id"]
    assert region_ranks(images) == list(run.regions)


def test_region_equals_its_table_row(run: ExportedRun) -> None:
    for image in select(run):
        for region in image.regions:
            expected = run.regions[region.rank]
            assert region.attributes(run.classes) == expected.attributes
            assert region.area == expected.mask.sum()
            full = np.zeros(image.size, bool)
            y0, x0, y1, x1 = region.box
            full[y0:y1, x0:x1] = region.mask(image.size[0])
            np.testing.assert_array_equal(full, expected.mask)
    assert {image.size for image in select(run)} == {(8, 10), PADDED}


def test_image_has_scores_and_path_columns(run: ExportedRun) -> None:
    table = {(row["source"], row["index"]): row for row in read_rows(run.out)}
    for image in select(run):
        row = table[image.source, image.index]
        assert {name: row[name] for name in image.columns} == image.columns
        assert {"dt", "softmin", "clc", "flagged_pixels", "valid_pixels"} <= set(image.columns)


@pytest.mark.parametrize("top", [1, 3, 11, 50])
def test_top_counts_regions(run: ExportedRun, top: int) -> None:
    assert region_ranks(select(run, top=top)) == list(run.regions)[:top]


def test_small_or_weak_regions_are_omitted_and_not_counted(run: ExportedRun) -> None:
    areas = {rank: region.mask.sum() for rank, region in run.regions.items()}
    large = [rank for rank in run.regions if areas[rank] >= 7]
    assert region_ranks(select(run, min_area=7, top=4)) == large[:4]
    least = run.regions[5].row["evidence"]
    assert region_ranks(select(run, min_evidence=least)) == [1, 2, 3, 4, 5]


def test_decisions_filter_regions(run: ExportedRun, tmp_path: Path) -> None:
    # Regions 1 and 4 are in the same image.
    file = write_decisions(
        run,
        tmp_path,
        ("reject", 1, True),
        ("accept", 4, False),
        ("accept", 2, False),
        ("reject", 3, False),
        ("unsure", 5, False),
    )
    assert region_ranks(select(run, verdicts=file)) == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert region_ranks(select(run, verdicts=file, accepted=True)) == [2, 4]
    assert region_ranks(select(run, verdicts=file, top=1)) == [2]


def test_decisions_on_another_run_are_rejected(run: ExportedRun, tmp_path: Path) -> None:
    file = Path(write_decisions(run, tmp_path))
    file.write_text(file.read_text().replace('"run": "', '"run": "f00'))
    with raises(UsageError, match="holds decisions on run f00"):
        select(run, verdicts=str(file))


@pytest.mark.parametrize(
    ("flags", "message", "error"),
    [
        ({"out": "x", "accepted": "true"}, "accepted is true, but no decisions file is given", UsageError),
        ({}, "--out is required", UsageError),
        ({"out": "x", "top": "0"}, "top must be a number greater than or equal to 1", UsageError),
        ({"out": "x", "tops": "3"}, "Unknown key 'tops'", UsageError),
    ],
)
def test_invalid_options_are_rejected(flags: dict[str, str], message: str, error: type[MasksiftError]) -> None:
    with raises(error, match=message):
        build_config(ExportConfig, {"run": "run"}, flags)


def test_run_without_region_table_is_rejected(run: ExportedRun, tmp_path: Path) -> None:
    shutil.copytree(run.out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/regions")
    with raises(DataError, match=r"has no regions/part-\*.parquet"):
        select(ExportedRun(tmp_path / "out", {}, {}, {}, run.classes))


@pytest.fixture
def reranked(run: ExportedRun, tmp_path: Path) -> ExportedRun:
    """A copy of the run with its regions in reverse order, without the first one."""
    out = tmp_path / "reranked"
    shutil.copytree(run.out, out)
    rows = [dict(region.row) for rank, region in run.regions.items() if rank != 1][::-1]
    rows = [row | {"rank": rank, "old_rank": row["rank"], "probability": 0.5} for rank, row in enumerate(rows, 1)]
    table = table_from_rows(rows, reranked_schema(("dt",)))
    write_table(ObjectDirectory(str(out)), "reranked.parquet", table, run.classes)
    return replace(run, out=out)


def test_reranked_regions_are_exported_in_their_order(run: ExportedRun, reranked: ExportedRun) -> None:
    ranks = [*run.regions][:0:-1]
    images = select(reranked, reranked=True)
    rows = [run.regions[rank].row for rank in ranks]
    assert [(image.source, image.index) for image in images] == [
        *dict.fromkeys((row["source"], row["index"]) for row in rows)
    ]
    for image in images:
        assert [region.rank for region in image.regions] == run.ranks(image.source, image.index)[::-1][
            : len(image.regions)
        ]
        for region in image.regions:
            assert region.run_lengths.tolist() == run.regions[region.rank].row["rle"]
    assert region_ranks(images) == sorted(ranks)


def test_first_reranked_regions_are_limited(run: ExportedRun, reranked: ExportedRun) -> None:
    ranks = [*run.regions][:0:-1]
    assert region_ranks(select(reranked, reranked=True, top=2)) == sorted(ranks[:2])
    images = select(reranked, reranked=True, per_image=1)
    assert all(len(image.regions) == 1 for image in images)


def test_run_without_reranked_regions_is_rejected(run: ExportedRun) -> None:
    with raises(UsageError, r"has no reranked.parquet\. Write it with `masksift rerank RUN --verdicts FILE`"):
        select(run, reranked=True)


def test_accepted_regions_are_not_reranked(run: ExportedRun) -> None:
    with raises(UsageError, r"accepted and reranked are true, but accepted regions are not reranked"):
        select(run, reranked=True, accepted=True, verdicts="verdicts.json")


@pytest.mark.parametrize("per_image", [1, 2])
def test_regions_of_an_image_are_limited_to_the_first(run: ExportedRun, per_image: int) -> None:
    images = select(run, per_image=per_image)
    assert [(image.source, image.index) for image in images] == run.ordered_images()
    for image in images:
        assert [region.rank for region in image.regions] == run.ranks(image.source, image.index)[:per_image]
