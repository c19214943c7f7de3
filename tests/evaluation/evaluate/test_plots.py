"""The pictures: every score can be told from the others, and the same curves give the same bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from masksift.evaluation.evaluate.metrics import cumulate, sort_by_score
from masksift.evaluation.evaluate.plots import plot_precision_recall, plot_recall_effort
from masksift.evaluation.evaluate.score_evaluation import make_curve


def test_pictures_of_more_scores_than_colours() -> None:
    rng, wrong = np.random.default_rng(4), np.arange(50) % 5 == 0
    curves = {f"score {i}": make_curve(cumulate(sort_by_score(rng.random(50), wrong))) for i in range(9)}
    areas = {name: i / 9 for i, name in enumerate(curves)}
    for draw in (plot_precision_recall, plot_recall_effort):
        data = draw(curves, areas, 0.2)
        assert data == draw(curves, areas, 0.2)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (1152, 720)


def test_no_two_scores_look_alike() -> None:
    from masksift.evaluation.evaluate.plots import _styles

    curves = {f"score {i}": make_curve(cumulate(sort_by_score(np.arange(4.0), np.arange(4) < 2))) for i in range(14)}
    looks = [style for _, style in _styles(curves, dict.fromkeys(curves, 0.5))]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 14
