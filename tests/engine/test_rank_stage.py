"""Ranked tables from the outputs of blocks: on the workers, and in one process for a table of one part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from masksift.core.errors import RunFailed
from masksift.core.task_result import TaskResult
from masksift.engine import combine_task
from masksift.engine.compact_task import COMPACT, CompactContext, ImageParts, compact_part
from masksift.engine.image_parts import image_part_names, read_image_rows
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.rank_stage import RankResult, rank_on_workers, rank_one_part
from masksift.engine.result_tables import ImageRanking, RegionRanking
from masksift.engine.work_items import SCORE, PairCounts, RunContext, pack_result
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring import range_partition
from masksift.scoring.kernels.label_grids import GRID_SIDE
from masksift.scoring.methods import COMBINED, COMBINED_SCORES, WORST_REGION
from masksift.scoring.ranking import PlaceKnots
from masksift.scoring.region_priority import PairTotals
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.schemas import (
    ranking_schema,
    regions_schema,
    scored_images_schema,
    scored_regions_schema,
)
from masksift.storage.tables.segments import pack_table
from support.errors import raises

METHODS, COLUMNS = ("softmin", "clc", "class_agreement"), ("site",)
SCORES_BY_REGION = (*METHODS, WORST_REGION)
SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
EVIDENCE = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0, 1e6))
IMAGES = st.lists(st.tuples(SCORES, st.lists(EVIDENCE, max_size=3)), min_size=1, max_size=12)

limited = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TOTALS = PairTotals(np.zeros((1, 1)), np.ones(1, np.int64), np.ones(1, np.int64))

Images = Sequence[tuple[float | None, Sequence[float]]]


def image_row(source: int, index: int, score: float | None) -> dict[str, Any]:
    status = "scored" if score is not None else "all_ignored"
    fields = {"image_id": f"{source}/{index}", "source": f"s{source}", "index": index, "site": "x"}
    agreement = None if score is None else round(7 * score % 1, 1)
    scores = {"softmin": score, "clc": score, "class_agreement": agreement}
    own = pattern(source, index)
    grids = np.stack([pattern(source, index + 1) if is_misplaced(index) else own, own])
    return fields | {"height": 1, "width": 9, "status": status, "grids": grids.tobytes(), **scores}


def is_misplaced(index: int) -> bool:
    """Return whether the labels of an image are those of the next one."""
    return index % 3 == 0


def pattern(source: int, index: int) -> NDArray[np.uint8]:
    """Return the classes of an image on a grid."""
    return np.random.default_rng((source, index)).integers(0, 5, (GRID_SIDE, GRID_SIDE)).astype(np.uint8)


def region_rows(source: int, index: int, evidence: Sequence[float]) -> list[dict[str, Any]]:
    fields = {"image_id": f"{source}/{index}", "source": f"s{source}", "index": index, "site": "x"}
    fields |= {"suggested": 0, "suggested_name": "road", "area": 1, "y0": 0, "y1": 1}
    fields |= {"centroid_y": 0.0, "mean_predicted_confidence": 0.5, "height": 1, "width": 9, "suggested_z": 0.0}
    fields |= {"suggested_pixels": 1, "class_priority": 0.0, "pair_evidence": 0.0, "given": 0, "given_name": "road"}
    fields |= {"given_pixels": 1, "given_z": 0.0, "kind": "label", "mean_self_confidence": 0.25}
    return [
        fields
        | {
            "x0": x,
            "x1": x + 1,
            "centroid_x": x,
            "priority": value,
            "evidence": value,
            "rle": np.array([x, 1, 8 - x], np.int32),
        }
        for x, value in enumerate(evidence)
    ]


def write_blocks(
    out: Path,
    sources: Sequence[Images],
    block_images: int,
    top: int,
    rows: tuple[int, int, int],
    rank_by: str = "softmin",
) -> tuple[CompactContext, ImageParts]:
    """Write the outputs of scored blocks; return the context and the parts of their tables."""
    blocks = BlockSequence(tuple((len(images), block_images) for images in sources))
    run = RunContext(
        "0123456789abcdef",
        4,
        (),
        "rank",
        str(out),
        COLUMNS,
        max_regions=top,
        image_part_rows=rows[0],
        table_scores=(WORST_REGION, *((COMBINED,) if rank_by == COMBINED else ())),
    )
    regions = RegionRanking(COLUMNS, top, "evidence", rows[2])
    methods = (*METHODS, *run.table_scores)
    context = CompactContext(run, ImageRanking(methods, COLUMNS, rank_by, rows[1]), regions, ("road",))
    for block in blocks:
        images = list(enumerate(sources[block.source]))[block.start : block.stop]
        found = [row for index, (_, evidence) in images for row in region_rows(block.source, index, evidence)]
        output = {
            "images": pack_table(
                table_from_rows(
                    [image_row(block.source, index, score) for index, (score, _) in images],
                    scored_images_schema(METHODS, COLUMNS),
                )
            ),
            "regions": pack_table(table_from_rows(found, scored_regions_schema(COLUMNS))),
            "pairs": PairCounts(*np.full((3, 1, 1), block.images, np.int64)).pack(),
            "result": pack_result(TaskResult(block.number, block.images, 0, {})),
        }
        context.manifest.save(SCORE, block.number, output)
    return context, ImageParts(blocks, rows[0])


def rank(context: CompactContext, parts: ImageParts) -> RankResult:
    with ProgressReporter("quiet").stage("rank") as stage:
        return rank_on_workers(context, TOTALS, parts, SerialExecutor(), stage, lambda result: None)


def read_parts(out: Path, table: str) -> list[list[dict[str, Any]]]:
    return [pq.read_table(path).to_pylist() for path in sorted((out / table).iterdir())]


def cut(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[i : i + size] for i in range(0, max(1, len(rows)), size)]


@limited
@given(
    sources=st.lists(IMAGES, min_size=1, max_size=3),
    block_images=st.integers(1, 7),
    top=st.integers(1, 30),
    rows=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    in_one=st.booleans(),
)
def test_tables_are_ranked_as_by_one_sort_of_all_rows(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[Images],
    block_images: int,
    top: int,
    rows: tuple[int, int, int],
    in_one: bool,
) -> None:
    out = tmp_path_factory.mktemp("out")
    rows = (99, *rows[1:]) if in_one else rows
    context, parts = write_blocks(out, sources, block_images, top, rows)
    pairs = (rank_one_part(context, TOTALS, parts) if in_one else rank(context, parts)).pairs
    every = [(s, index, *image) for s, images in enumerate(sources) for index, image in enumerate(images)]
    assert pairs.pixels.tolist() == pairs.images.tolist() == [[len(every)]]

    images = [
        (f"{s}/{index}", max(evidence, default=None), None if score is None else 1 / (1 + max(evidence, default=0.0)))
        for s, index, score, evidence in every
    ]
    names = ("image_id", "region_evidence", WORST_REGION)
    found_images = read_parts(out, "images")
    assert [[tuple(row[name] for name in names) for row in part] for part in found_images] == cut(images, rows[0])
    transforms = [
        "neighbor(+1)" if is_misplaced(i) and i + 1 < len(images) else None
        for images in sources
        for i in range(len(images))
    ]
    assert [[row["suspected_transform"] for row in part] for part in found_images] == cut(transforms, rows[0])

    scored = [(score, s, index) for s, index, score, _ in every if score is not None]
    ranking = read_parts(out, "ranking")
    expected = cut(sorted(scored), rows[1])
    assert [[(row["score"], int(row["source"][1:]), row["index"]) for row in part] for part in ranking] == expected
    assert [row["rank"] for part in ranking for row in part] == list(range(1, len(scored) + 1))
    assert [row["percentile"] for part in ranking for row in part][-1:] == [100.0][: len(scored)]

    found = [(-value, s, index, x) for s, index, _, values in every for x, value in enumerate(values)]
    regions = read_parts(out, "regions")
    assert [
        [(-row["evidence"], int(row["source"][1:]), row["index"], row["x0"]) for row in part] for part in regions
    ] == cut(sorted(found)[:top], rows[2])
    assert [row["rank"] for part in regions for row in part] == list(range(1, min(top, len(found)) + 1))
    assert all(row["rle"] == [row["x0"], 1, 8 - row["x0"]] for part in regions for row in part)

    assert not list((out / "manifest").glob("split/*")), "sorted rows are removed"
    for table, schema in (("ranking", ranking_schema(SCORES_BY_REGION, COLUMNS)), ("regions", regions_schema(COLUMNS))):
        assert all(pq.read_schema(path).remove_metadata() == schema for path in (out / table).iterdir())


@limited
@given(
    sources=st.lists(IMAGES, min_size=1, max_size=3),
    block_images=st.integers(1, 7),
    rows=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    range_values=st.integers(1, 5),
    sampled=st.integers(1, 4),
)
def test_combined_score_is_the_weighted_mean_of_the_places_in_three_rankings(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[Images],
    block_images: int,
    rows: tuple[int, int, int],
    range_values: int,
    sampled: int,
) -> None:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine_task, "PLACE_RANGE_VALUES", range_values)
        patch.setattr(range_partition, "SAMPLED_KEYS", sampled)
        knots = rank(*write_blocks(out, sources, block_images, 9, rows, COMBINED)).knots
    images = [row for part in read_parts(out, "images") for row in part]
    scored = [row for row in images if row["status"] == "scored"]
    places = [
        rankdata([row[name] for row in scored]) / (len(scored) + 1) if scored else np.zeros(0)
        for name in COMBINED_SCORES
    ]
    expected = np.sqrt(places[0] * np.sqrt(places[1] * places[2]))
    assert [row[COMBINED] for row in scored] == expected.tolist()
    assert all(row[COMBINED] is None for row in images if row["status"] != "scored")
    ranking = [row for part in read_parts(out, "ranking") for row in part]
    order = [scored[i]["image_id"] for i in np.argsort(expected, kind="stable")]
    assert [row["image_id"] for row in ranking] == order
    assert [row["score"] for row in ranking] == [row[COMBINED] for row in ranking] == sorted(expected.tolist())
    assert not list((out / "manifest/places").glob("*.places")), "places are removed"
    in_one = tmp_path_factory.mktemp("one")
    context, parts = write_blocks(in_one, sources, block_images, 9, (99, *rows[1:]), COMBINED)
    other_knots = rank_one_part(context, TOTALS, parts).knots
    assert knots is not None
    assert other_knots is not None
    for one, other in zip(knots, other_knots, strict=True):
        assert (one.scores.tolist(), one.places.tolist()) == (other.scores.tolist(), other.places.tolist())
    assert [row for part in read_parts(in_one, "images") for row in part] == images
    assert read_parts(in_one, "ranking") == read_parts(out, "ranking")


@pytest.mark.parametrize("part_rows", [4, 99])
def test_scores_are_combined_by_the_rankings_of_another_run(tmp_path: Path, part_rows: int) -> None:
    half = PlaceKnots(np.array([0.5]), np.array([0.5]))
    knots = (PlaceKnots(np.array([0.2, 0.6]), np.array([0.25, 0.5])), half, half)
    context, parts = write_blocks(tmp_path, SOURCES, 3, 99, (part_rows, 5, 6), COMBINED)
    context = replace(context, knots=knots)
    result = rank_one_part(context, TOTALS, parts) if part_rows == 99 else rank(context, parts)
    assert result.knots is knots
    for row in [row for part in read_parts(tmp_path, "images") for row in part]:
        if row["status"] != "scored":
            assert row[COMBINED] is None
            continue
        softmin = np.interp(row["softmin"], [0, 0.2, 0.6, 1], [0, 0.25, 0.5, 1])
        assert row[COMBINED] == np.sqrt(softmin * np.sqrt(row["class_agreement"] * row[WORST_REGION]))
    scores = [row["score"] for part in read_parts(tmp_path, "ranking") for row in part]
    assert scores == sorted(scores)
    assert len(scores) == 12


def test_changed_places_end_the_run(tmp_path: Path) -> None:
    context, parts = write_blocks(tmp_path, SOURCES, 3, 99, (4, 5, 6), COMBINED)
    compact_part(context, TOTALS, parts[0])
    task = combine_task.CombineTask(0, (np.zeros((0, 2), np.int64),) * 3)
    with raises(RunFailed, match=r"The places of part 0 in .* hold 0 values, not 4\. They were changed"):
        combine_task.combine_part(context, task)


SOURCES: list[Images] = [[(i / 10, [float(i)]) for i in range(10)], [(0.5, []), (None, []), (0.25, [3.0, 3.0])]]


@pytest.mark.parametrize("rank_by", ["softmin", COMBINED])
def test_part_that_was_compacted_before_is_reused(tmp_path: Path, rank_by: str) -> None:
    context, parts = write_blocks(tmp_path, SOURCES, 3, 99, (4, 5, 6), rank_by)
    rank(context, parts)
    tables = {table: read_parts(tmp_path, table) for table in ("images", "ranking", "regions")}
    first = min((tmp_path / "images").iterdir())
    stamp = first.stat().st_mtime_ns
    for path_of_block in (tmp_path / "manifest/score").iterdir():
        path_of_block.unlink()
    rank(context, parts)
    assert {table: read_parts(tmp_path, table) for table in tables} == tables
    assert (first.stat().st_mtime_ns == stamp) == (rank_by == "softmin"), "combined scores are written again"
    answer = compact_part(context, TOTALS, parts[0])
    assert answer.task_result.reused
    assert context.manifest.load(COMPACT, 0) is not None


def test_removed_output_of_a_block_ends_the_run(tmp_path: Path) -> None:
    context, parts = write_blocks(tmp_path, SOURCES, 3, 99, (4, 5, 6))
    min((tmp_path / "manifest/score").iterdir()).unlink()
    with raises(RunFailed, match=r"Block 0 of stage 'score' has no output in .*: it was removed\..*would lack"):
        rank(context, parts)


def test_image_rows_are_read_by_position_in_the_given_order(tmp_path: Path) -> None:
    context, parts = write_blocks(tmp_path, SOURCES, 3, 99, (4, 5, 6))
    rank(context, parts)
    directory = ObjectDirectory(str(tmp_path))
    rows = read_image_rows(context.run, directory, [12, 0, 12, 9], ["source", "index"])
    assert [(row["source"], row["index"]) for row in rows] == [("s1", 2), ("s0", 0), ("s1", 2), ("s0", 9)]
    assert image_part_names(context.run, 13)[-1] == "images/part-0123456789ab-000003.parquet"
