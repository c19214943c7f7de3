"""Runs over CamVid with real annotations, real predictions and known errors; skipped without the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from sklearn.metrics import average_precision_score, roc_auc_score

import masksift
from masksift.config.load import build_config, build_run_config
from masksift.evaluation.simulate.command import SimulateConfig, simulate
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from support.camvid import CAMVID, EXPECTED, changed

pytestmark = [
    pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample is not next to this checkout"),
]


def audit(variant: str, out: Path, address: str) -> Path:
    config = build_run_config(
        {
            "sources": [str(CAMVID / "camvid.zarr")],
            "out": str(out),
            "arrays": {"labels": f"labels_{variant}"},
            "executor": {"kind": "dask", "address": address},
        },
        {},
    )
    assert run(config, ProgressReporter("quiet")).exit_code == 0
    return out


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def variant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, scheduler_address: str
) -> tuple[str, Path]:
    return request.param, audit(request.param, tmp_path_factory.mktemp("camvid") / "out", scheduler_address)


def test_camvid_run_finds_known_errors_as_well_as_the_reference(variant: tuple[str, Path]) -> None:
    name, out = variant
    images = pq.read_table(out / "images").to_pydict()
    truth = np.array([image in changed(name) for image in images["image_id"]])
    for score, (auroc, auprc) in EXPECTED[name].items():
        suspicion = 1 - np.array(images[score])
        assert roc_auc_score(truth, suspicion) == pytest.approx(auroc, abs=6e-4), score
        assert average_precision_score(truth, suspicion) == pytest.approx(auprc, abs=6e-4), score


def test_camvid_runs_name_no_transform_of_labels_in_place(variant: tuple[str, Path]) -> None:
    assert pq.read_table(variant[1] / "images")["suspected_transform"].null_count == 101


def test_camvid_audit_names_labels_that_were_misplaced() -> None:
    stored = zarr.open_group(CAMVID / "camvid.zarr", mode="r")
    labels, predictions = stored["labels"][:40], stored["predictions"][:40]  # type: ignore[index]
    labels[3], labels[17], labels[30] = np.roll(labels[3], 88, axis=1), labels[17, :, ::-1], labels[30, ::-1]
    audit = masksift.audit(labels, predictions, ignore=11)
    found = {i: name for i, name in enumerate(audit.images["suspected_transform"].to_pylist()) if name is not None}
    assert found == {3: "roll(dy=0, dx=90)", 17: "flip(lr)", 30: "flip(ud)"}


def test_camvid_run_ranks_every_image_once(variant: tuple[str, Path]) -> None:
    _, out = variant
    ranking = pq.read_table(out / "ranking").to_pydict()
    assert ranking["rank"] == list(range(1, 102))
    assert len(set(ranking["image_id"])) == 101
    assert ranking["score"] == sorted(ranking["combined"])


def test_camvid_run_finds_omissions_only_with_the_omission_method(tmp_path: Path, scheduler_address: str) -> None:
    options = {"executor": {"kind": "dask", "address": scheduler_address}, "sources": [str(CAMVID / "camvid.zarr")]}
    lost = {"kind": "drop", "fill": "ignore", "objects": "one", "out": str(tmp_path / "lost")}
    simulate(build_config(SimulateConfig, options | lost, {}), ProgressReporter("quiet"))
    audited = build_run_config(
        options | {"out": str(tmp_path / "out"), "labels_from": str(tmp_path / "lost" / "labels")}, {}
    )
    assert run(audited, ProgressReporter("quiet")).exit_code == 0
    images, truth = (pq.read_table(tmp_path / name).to_pydict() for name in ("out/images", "lost/truth"))
    wrong = np.isin(images["image_id"], truth["image_id"])
    found = {score: roc_auc_score(wrong, 1 - np.array(images[score])) for score in ("omission", "softmin", "clc")}
    assert found["omission"] > 0.9
    assert found["softmin"] < 0.7 > found["clc"]
