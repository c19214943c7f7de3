"""CamVid with known errors, if it is next to the checkout: equal to an independent computation and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.evaluate.helpers import evaluate, read_metric, read_metrics, write_image_list
from support.camvid import CAMVID, EXPECTED, changed
from support.cli import run_cli

pytestmark = [
    pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample is missing"),
]


@pytest.mark.parametrize("variant", sorted(EXPECTED))
def test_evaluate_reproduces_independent_camvid_figures(variant: str, tmp_path: Path) -> None:
    source, run, out = CAMVID / "camvid.zarr", tmp_path / "run", tmp_path / "ev"
    assert run_cli("run", "--source", source, "--arrays.labels", f"labels_{variant}", "--out", run) == 0
    assert evaluate(run, source, out) == 0  # the array `labels` is right
    images = pq.read_table(run / "images").to_pydict()
    names = changed(variant)
    wrong = np.isin(images["image_id"], sorted(names))
    for score, (auroc, auprc) in EXPECTED[variant].items():
        suspicion = 1 - np.array(images[score])
        rows = read_metric(out, score, "auroc"), read_metric(out, score, "average_precision")
        assert rows[0]["errors"] == len(names)
        assert rows[0]["value"] == pytest.approx(roc_auc_score(wrong, suspicion), abs=1e-9), score
        assert rows[1]["value"] == pytest.approx(average_precision_score(wrong, suspicion), abs=1e-9), score
        assert [row["value"] for row in rows] == pytest.approx([auroc, auprc], abs=1e-3), score
    image_list = write_image_list(tmp_path / "wrong.csv", [{"image_id": name} for name in sorted(names)])
    assert evaluate(run, image_list, tmp_path / "by-list") == 0
    for row in read_metrics(tmp_path / "by-list"):
        if row["measure"] != "kendall_tau":  # needs shares
            assert row == read_metric(out, row["score"], row["measure"], row["at"])
