"""Plots of a sweep: layout, missing values, reproducible bytes."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import pytest
from PIL import Image

from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.evaluation.sweep.plots import PLOTS, plot_auroc, plot_precision, plot_temperatures
from masksift.evaluation.sweep.result_table import SweepTable
from masksift.scoring.methods import score_names


def make_table(
    *,
    error_types: tuple[str, ...] = ("drop", "swap"),
    shares: tuple[float, ...] = (0.1, 0.3),
    temperatures: tuple[float, ...] = (0.05, 0.5),
    methods: tuple[str, ...] = score_names(),
    at: str = "errors",
    defined: bool = True,
) -> SweepTable:
    scores = [(name, t) for name in methods for t in (temperatures if name in ("softmin", "combined") else (None,))]
    rows: list[dict[str, Any]] = []
    for number, (error_type, share, (method, t)) in enumerate(product(error_types, shares, scores)):
        metrics = dict.fromkeys(("auroc", "auprc", "precision"), 0.5 + number % 7 / 20 if defined else None)
        if number == 3:
            metrics["auroc"] = None
        setting = {"kind": error_type, "share": share, "method": method, "temperature": t}
        rows.append(setting | {"images": 100, "errors": round(100 * share), "at": at} | metrics)
    return SweepTable(tuple(rows))


@pytest.mark.parametrize("name", PLOTS)
def test_plot_of_same_table_has_same_bytes(name: str) -> None:
    png = PLOTS[name](make_table())
    assert png is not None
    assert png == PLOTS[name](make_table())
    with Image.open(io.BytesIO(png)) as image:
        assert image.width > image.height


def test_plot_has_at_most_three_panels_per_row() -> None:
    sizes = []
    for count in (3, 4, 6):
        png = plot_auroc(make_table(error_types=tuple(ERROR_TYPES)[:count], methods=("ccp",)))
        assert png is not None
        with Image.open(io.BytesIO(png)) as image:
            sizes.append(image.size)
    assert sizes[1] == sizes[2]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_plot_over_a_single_value_is_omitted() -> None:
    assert plot_temperatures(make_table(temperatures=(0.1,))) is None
    assert plot_auroc(make_table(shares=(0.1,))) is None
    assert plot_precision(make_table(shares=(0.1,), at="10%")) is None


@pytest.mark.parametrize("name", PLOTS)
def test_plot_without_values_is_omitted(name: str) -> None:
    assert PLOTS[name](make_table(defined=False)) is None


def test_table_compares_softmin_at_the_temperature_nearest_to_its_default() -> None:
    assert make_table(temperatures=(0.03, 0.2, 1.0)).default_temperature == 0.2
    assert make_table(temperatures=(0.1, 0.2)).default_temperature == 0.1
    assert make_table(shares=(0.05, 0.1, 0.2, 0.3, 0.5)).middle_share == 0.2
