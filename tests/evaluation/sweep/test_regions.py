"""Regions of a sweep: priorities as in a run, limited lists, and the report."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine.region_table import compare_regions
from masksift.evaluation.evaluate.region_orders import REVIEWED_REGIONS
from masksift.evaluation.sweep import regions as sweep_regions
from masksift.evaluation.sweep.regions import (
    NO_GIVEN_CLASS,
    REGION_BYTES,
    SweepRegions,
    collect_regions,
    measure_orders,
)
from masksift.evaluation.sweep.result_table import SweepTable
from masksift.evaluation.sweep.summary import console_text, report_text
from masksift.scoring.region_priority import PairTotals
from masksift.storage.tables.arrow import table_from_columns
from masksift.storage.tables.schemas import scored_regions_schema

CLASSES = 3


def make_regions(seed: int, count: int, settings: int = 1) -> SweepRegions:
    """Regions of random images, with equal priorities among them."""
    rng = np.random.default_rng(seed)
    integers = {name: rng.integers(0, 4, count) for name in ("image", "given_pixels", "suggested_pixels")}
    values = {name: rng.integers(1, 5, count) / 4 for name in ("evidence", "pair_evidence", "class_priority")}
    columns: dict[str, Any] = {
        **integers,
        **values,
        "setting": np.sort(rng.integers(0, settings, count)),
        "is_hit": rng.random(count) < 0.5,
        "given": rng.integers(NO_GIVEN_CLASS, CLASSES, count),
        "suggested": rng.integers(0, CLASSES, count),
        "priority": rng.integers(1, 6, count) / 4,
    }
    empty = SweepRegions.empty()
    return SweepRegions(**{one.name: columns[one.name].astype(getattr(empty, one.name).dtype) for one in fields(empty)})


def make_totals(seed: int) -> PairTotals:
    rng = np.random.default_rng(seed)
    return PairTotals(10 * rng.random((CLASSES, CLASSES)), *rng.integers(10, 100, (2, CLASSES)))


def assert_equal(one: SweepRegions, other: SweepRegions) -> None:
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)


@given(st.integers(0, 99), st.integers(0, 30))
def test_priorities_equal_those_of_a_run(seed: int, count: int) -> None:
    regions, totals = make_regions(seed, count), make_totals(seed)
    schema = scored_regions_schema()
    columns: dict[str, Any] = {one.name: [0] * count for one in schema}
    columns |= {
        name: [[0]] * count if name == "rle" else [""] * count for name in ("rle", "image_id", "source", "kind")
    }
    columns |= {name: [""] * count for name in ("given_name", "suggested_name")}
    columns |= {one.name: getattr(regions, one.name) for one in fields(regions) if one.name in schema.names}
    for name in ("given", "given_pixels"):
        columns[name] = np.ma.MaskedArray(columns[name], regions.given == NO_GIVEN_CLASS)
    expected = compare_regions(table_from_columns(columns, schema), totals)
    compared = regions.compare(totals)
    for name in ("priority", "class_priority", "evidence"):
        np.testing.assert_array_equal(getattr(compared, name), expected[name].to_numpy(), name)


@pytest.mark.parametrize("sizes", [(40,), (7, 0, 20, 13), (1,) * 40])
def test_lists_are_limited_as_in_a_run_for_any_blocks(sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_regions, "MAX_REGIONS", 8)
    every, totals = make_regions(1, 40, settings=2), [make_totals(1), make_totals(2)]
    every = every.take(np.random.default_rng(0).permutation(40))
    ends = np.cumsum(sizes)
    blocks = [every.take(np.arange(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    monkeypatch.setattr(sweep_regions, "_iter_block_regions", lambda *_: iter(blocks))
    context: Any = None
    tasks: Any = [SimpleNamespace(block_task=SimpleNamespace(block=SimpleNamespace(images=4)))]
    collected, priorities = collect_regions(context, tasks, totals, 1)
    for number, found in enumerate(collected):
        regions = every.take(every.setting == number).compare(totals[number])
        assert len(regions) > 8
        highest = sorted(range(len(regions)), key=lambda i: (-float(regions.priority[i]), i))[:8]
        assert_equal(found, regions.take(np.array(sorted(highest))))
        for image in range(4):
            own = regions.priority[(regions.image == image) & (regions.given != NO_GIVEN_CLASS)]
            assert priorities[number, image] == max(own, default=0.0), "of all regions, not only of the listed ones"


def test_regions_take_the_planned_memory() -> None:
    regions = SweepRegions.empty()
    row = sum(getattr(regions, one.name).itemsize for one in fields(regions))
    assert 2 * row <= REGION_BYTES < 2 * row + 16


def test_orders_break_ties_by_evidence_then_by_rank() -> None:
    regions = make_regions(0, 25)
    same = replace(regions, class_priority=np.ones(25), evidence=np.ones(25))
    rows = measure_orders([same], 4, ["drop"], [0.5])
    by_order = {
        name: [row["value"] for row in rows if row["score"] == f"regions by {name}"]
        for name in ("priority", "class", "evidence")
    }
    assert by_order["priority"] == by_order["class"] == by_order["evidence"]
    assert {(row["kind"], row["share"], row["images"], row["regions"]) for row in rows} == {("drop", 0.5, 4, 25)}
    assert {row["at"] for row in rows} == {None, *map(str, REVIEWED_REGIONS)}
    assert {row["note"] for row in rows if row["at"] == "50"} == {"only 25 regions are reviewed"}


def test_setting_without_regions_has_no_value() -> None:
    rows = measure_orders([SweepRegions.empty()], 4, ["drop"], [0.5])
    assert {(row["value"], row["regions"], row["note"]) for row in rows} == {(None, 0, "no region is listed")}


def test_report_and_summary_show_the_orders() -> None:
    regions = [make_regions(seed, 60) for seed in range(2)]
    scores = {"auroc": 0.5, "auprc": 0.5, "images": 4, "errors": 1, "method": "ccp", "temperature": None, "note": None}
    settings = [{"kind": "drop", "share": share} for share in (0.1, 0.5)]
    orders = measure_orders(regions, 4, ["drop"], [0.1, 0.5])
    table = SweepTable(tuple(setting | scores for setting in settings), tuple(orders))
    text = report_text(table, [])
    for name in table.orders:
        cells = []
        for share in (0.1, 0.5):
            area, precision, images = (
                table.region_row("drop", share, name, *column)["value"]
                for column in (
                    ("region_average_precision", None),
                    ("region_precision", "50"),
                    ("region_wrong_images", "50"),
                )
            )
            cells.append(f"{area:.3f} / {precision:.2f} / {images:.0f}")
        assert f"| {name} | {' | '.join(cells)} |" in text
    best = max(table.orders, key=lambda name: table.mean_order("drop", name))
    assert f"best order, by AUPRC (mean over the shares): drop {best} (" in console_text(table)


def test_sweep_without_threshold_scores_has_regions(tmp_path: Path) -> None:
    from evaluation.sweep.test_command import read_region_table, sweep, sweep_images
    from support.sources import write_source

    source = write_source(tmp_path / "a.zarr", sweep_images(images=6))
    out = sweep(source, tmp_path / "out", "--methods", "softmin", "--kinds", "swap", "--shares", 0.5)
    rows = [row for row in read_region_table(out) if row["measure"] == "region_average_precision"]
    assert [row["score"] for row in rows] == ["regions by priority", "regions by class", "regions by evidence"]
    assert all(row["regions"] > row["errors"] > 0 for row in rows)
