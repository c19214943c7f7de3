"""A run, its truth and the results on a real S3 server: the same figures as on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.evaluate.helpers import (
    evaluate,
    image_name,
    plant_errors,
    read_metrics,
    run_planted,
    write_image_list,
    write_simulation,
)
from support.cli import run_cli
from support.s3_server import S3Server


@pytest.mark.slow
def test_an_evaluation_on_s3_is_the_evaluation_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    planted, files, lake = plant_errors(images=12), s3_server.filesystem(), "s3://lake/data"
    run = run_planted(planted, tmp_path / "data")
    write_simulation(tmp_path / "data/sim", planted)
    write_image_list(tmp_path / "data/wrong.csv", [{"image_id": image_name(i)} for i in planted.images])
    files.put(f"{tmp_path}/data/", "lake/data/", recursive=True)
    there = ("run", "--source", f"{lake}/given.zarr", "--out", f"{lake}/there", *s3_server.cli_args)
    assert run_cli(*there) == 0
    for name in ("right.zarr", "sim", "wrong.csv"):
        assert evaluate(run, tmp_path / "data" / name, tmp_path / f"on-disk-{name}") == 0
        words = (f"{lake}/there", f"{lake}/{name}", f"{lake}/ev-{name}", *s3_server.cli_args)
        assert evaluate(*words) == 0  # type: ignore[arg-type]
        files.get(f"lake/data/ev-{name}/", f"{tmp_path}/on-s3-{name}/", recursive=True)
        assert read_metrics(tmp_path / f"on-s3-{name}") == read_metrics(tmp_path / f"on-disk-{name}")
