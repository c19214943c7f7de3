"""Known errors on a real S3 server: the same bytes as on disk, and a run that finds them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cli import run_cli
from support.results import read_files, read_rows
from support.s3_server import SECRET_KEY, S3Server
from support.sources import make_data, write_source


@pytest.mark.slow
def test_a_simulation_on_s3_is_the_simulation_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    write_source(
        tmp_path / "a.zarr", make_data(height=24, width=32), label_chunks=(1, 24, 32), label_shards=(4, 24, 32)
    )
    files = s3_server.filesystem()
    files.put(f"{tmp_path}/a.zarr/", "lake/a.zarr/", recursive=True)
    for root, words in ((str(tmp_path), ()), ("s3://lake", s3_server.cli_args)):
        told = ("--source", f"{root}/a.zarr", "--out", f"{root}/known", "--share", 0.5)
        assert run_cli("simulate", "shift", *told, *words) == 0
        # predictions on disk, labels wherever: each is reached by its own keys
        run = ("--source", tmp_path / "a.zarr", "--labels_from", f"{root}/known/labels")
        assert run_cli("run", *run, "--out", tmp_path / f"run-{root[:2].strip('/')}", *words) == 0
    files.get("lake/known/", f"{tmp_path}/got/", recursive=True)
    on_disk, on_s3 = (
        {name: data for name, data in read_files(tmp_path / place).items() if name.startswith(("labels", "truth"))}
        for place in ("known", "got")
    )
    assert on_s3 == on_disk
    assert any(name.endswith("labels/c/1/0/0") for name in on_disk)
    (first, second) = sorted(tmp_path.glob("run-*"))
    assert read_rows(first) == read_rows(second)
    assert SECRET_KEY not in (tmp_path / "got/simulate.json").read_text()
