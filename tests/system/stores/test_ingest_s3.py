"""Files and the new source on a real S3 server: the same bytes as on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prepare.ingest.helpers import InputFiles, assert_ingest_fails
from support.cli import run_cli
from support.results import read_files
from support.s3_server import SECRET_KEY, S3Server


@pytest.mark.slow
def test_an_ingest_on_s3_is_the_ingest_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, files = InputFiles(tmp_path / "files"), s3_server.filesystem()
    np.save(tmp_path / "files/labels.npy", inputs.data.labels)
    np.save(tmp_path / "files/pred_probs.npy", inputs.data.predictions)
    files.put(f"{tmp_path}/files/", "lake/files/", recursive=True)
    for name, labels, predictions in (
        ("of-files", "labels/*.png", "predictions"),
        ("of-arrays", "labels.npy", "pred_probs.npy"),
    ):
        for root, out in ((f"{tmp_path}/files", f"{tmp_path}/{name}"), ("s3://lake/files", f"s3://lake/{name}")):
            words = ("--labels", f"{root}/{labels}", "--predictions", f"{root}/{predictions}", "--out", out)
            assert run_cli("ingest", *words, "--ignore", 255, *s3_server.cli_args) == 0
        files.get(f"lake/{name}/", f"{tmp_path}/got-{name}/", recursive=True)
        on_disk, on_s3 = (
            {key: data for key, data in read_files(tmp_path / place).items() if "ingest" not in key}
            for place in (name, f"got-{name}")
        )
        assert on_s3 == on_disk
        assert "labels/c/0/0/0" in on_disk
    words = ("--labels", "s3://lake/nothing", "--predictions", "p", "--out", "s3://lake/o")
    assert_ingest_fails(".* (at|in) s3://lake/nothing", capsys, *words, *s3_server.cli_args)
    assert SECRET_KEY not in files.cat_file("lake/of-files/ingest/zarr.json").decode()
