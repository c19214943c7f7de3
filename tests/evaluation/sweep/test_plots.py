"""The pictures: a panel a kind, a line a score, gaps where there is no figure, the same bytes for the same table."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import pytest
from PIL import Image

from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.evaluation.sweep.plots import PLOTS, auroc_over_share, over_temperature, precision_over_share
from masksift.evaluation.sweep.result_table import Table
from masksift.scoring.methods import METHODS


def table(
    *,
    kinds: tuple[str, ...] = ("drop", "swap"),
    shares: tuple[float, ...] = (0.1, 0.3),
    temperatures: tuple[float, ...] = (0.05, 0.5),
    at: str = "errors",
    known: bool = True,
) -> Table:
    scores = [(name, t) for name in METHODS for t in (temperatures if name == "softmin" else (None,))]
    rows: list[dict[str, Any]] = []
    for number, (kind, share, (method, t)) in enumerate(product(kinds, shares, scores)):
        figures = dict.fromkeys(("auroc", "auprc", "precision"), 0.5 + number % 7 / 20 if known else None)
        if number == 3:
            figures["auroc"] = None
        rows.append(
            {
                "kind": kind,
                "share": share,
                "method": method,
                "temperature": t,
                "images": 100,
                "errors": round(100 * share),
                "at": at,
                **figures,
            }
        )
    return Table(tuple(rows))


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_table_gives_the_same_picture(name: str) -> None:
    data = PLOTS[name](table())
    assert data is not None
    assert data == PLOTS[name](table())
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width > picture.height


def test_kinds_stand_three_abreast() -> None:
    sizes = []
    for count in (3, 4, 6):
        data = auroc_over_share(table(kinds=tuple(ERROR_TYPES)[:count]))
        assert data is not None
        with Image.open(io.BytesIO(data)) as picture:
            sizes.append(picture.size)
    assert sizes[1] == sizes[2]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_nothing_is_drawn_over_one_value() -> None:
    assert over_temperature(table(temperatures=(0.1,))) is None
    assert auroc_over_share(table(shares=(0.1,))) is None
    assert precision_over_share(table(shares=(0.1,), at="10%")) is None


@pytest.mark.parametrize("name", PLOTS)
def test_nothing_is_drawn_of_nothing(name: str) -> None:
    assert PLOTS[name](table(known=False)) is None


def test_the_usual_temperature_is_the_one_nearest_to_the_default() -> None:
    assert table(temperatures=(0.03, 0.2, 1.0)).usual == 0.2
    assert table(temperatures=(0.1, 0.2)).usual == 0.1
    assert table(shares=(0.05, 0.1, 0.2, 0.3, 0.5)).middle == 0.2
