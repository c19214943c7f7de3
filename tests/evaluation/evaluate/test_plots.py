"""Plots of an evaluation."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from masksift.evaluation.evaluate.metrics import cumulate, sort_by_score
from masksift.evaluation.evaluate.plots import plot_precision_recall, plot_recall_effort
from masksift.evaluation.evaluate.score_evaluation import make_curve


def test_plots_of_many_scores_are_reproducible() -> None:
    rng, wrong = np.random.default_rng(4), np.arange(50) % 5 == 0
    curves = {f"score {i}": make_curve(cumulate(sort_by_score(rng.random(50), wrong))) for i in range(9)}
    areas = {name: i / 9 for i, name in enumerate(curves)}
    for draw in (plot_precision_recall, plot_recall_effort):
        png = draw(curves, areas, 0.2)
        assert png == draw(curves, areas, 0.2)
        with Image.open(io.BytesIO(png)) as image:
            assert image.size == (1152, 720)


def test_line_styles_are_unique() -> None:
    from masksift.evaluation.evaluate.plots import _styles

    curves = {f"score {i}": make_curve(cumulate(sort_by_score(np.arange(4.0), np.arange(4) < 2))) for i in range(14)}
    styles = [style for _, style in _styles(curves, dict.fromkeys(curves, 0.5))]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 14
