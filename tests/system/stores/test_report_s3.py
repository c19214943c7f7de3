"""A report on a real S3 server: the same files as on disk, those of a larger one removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from review.report.report_files import photographed
from support.cli import run_cli
from support.results import read_files
from support.s3_server import SECRET_KEY, S3Server
from support.sources import make_data


@pytest.mark.slow
def test_a_report_on_s3_is_the_report_on_disk(s3_server: S3Server, s3_credentials: None, tmp_path: Path) -> None:
    source = photographed(tmp_path / "a.zarr", make_data(images=5))
    files = s3_server.filesystem()
    files.put(f"{source}/", "lake/a.zarr/", recursive=True)
    out = "s3://lake/out"
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    assert run_cli("run", "--source", "s3://lake/a.zarr", "--out", out, *s3_server.cli_args) == 0

    def both() -> tuple[dict[str, bytes], dict[str, bytes]]:
        place = tmp_path / "got"
        files.invalidate_cache()
        files.get("lake/out/report/", f"{place}/", recursive=True)
        here, there = read_files(tmp_path / "out/report"), read_files(place)
        for name in there:
            (place / name).unlink()
        assert not any(SECRET_KEY.encode() in data for data in there.values())
        return here, there

    here, there = both()
    assert sorted(here) == sorted(there)
    assert len(here) > 10
    assert all(data == there[name] for name, data in here.items() if name != "data/run.js")
    heads = {name: files.call_s3("head_object", Bucket="lake", Key=f"out/report/{name}") for name in here}
    kinds = {name: head["ContentType"] for name, head in heads.items()}
    assert kinds["index.html"] == "text/html; charset=utf-8"
    assert kinds["data/run.js"] == "text/javascript"
    assert (kinds["pictures/00000000.jpg"], kinds["pictures/00000000.png"]) == ("image/jpeg", "image/png")
    assert run_cli("report", out, "--top", 2, *s3_server.cli_args) == 0
    assert run_cli("report", tmp_path / "out", "--top", 2) == 0
    here, there = both()
    assert sorted(here) == sorted(there)
    assert all(data == there[name] for name, data in here.items() if name != "data/run.js")
