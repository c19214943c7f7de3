"""The loop on a real S3 server: the same labels as on disk, and a run that finds them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from masksift.storage.credentials import resolve_credentials
from review.helpers import of_region, record, regions_of, review
from support.cli import error_message, exit_code, run_cli
from support.results import read_files, read_rows
from support.s3_server import SECRET_KEY, S3Server
from support.sources import make_data, write_source


@pytest.mark.slow
def test_corrections_on_s3_are_those_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_source(tmp_path / f"lake/{name}.zarr", make_data(images=4, seed=seed))
    files = s3_server.filesystem()
    files.put(f"{tmp_path}/lake/", "lake/", recursive=True)
    found = {}
    for root, words in ((f"{tmp_path}/lake", ()), ("s3://lake", s3_server.cli_args)):
        told = ("--source", f"{root}/[ab].zarr", "--regions.min_area", 1, *words)
        assert run_cli("run", *told, "--out", f"{root}/run") == 0
        if words:
            files.get("lake/run/", f"{tmp_path}/got/run/", recursive=True)
        out = tmp_path / ("got/run" if words else "lake/run")
        file = review(tmp_path / "verdicts.json", out, *map(of_region, regions_of(out, source="b")[::2]))
        if words:
            files.put(str(file), "lake/verdicts.json")
        place = f"{root}/verdicts.json" if words else file
        told_again = (f"{root}/run", "--verdicts", place, "--out", f"{root}/fixed", *words)
        assert run_cli("export", "corrections", *told_again) == 0
        more = ("--labels_from", f"{root}/fixed", "--base", f"{root}/run")
        assert run_cli("run", *told, *more, "--out", tmp_path / f"after{len(words)}") == 0
        found[root] = tmp_path / f"after{len(words)}"
        assert exit_code("compare", f"{root}/run", found[root], *words) == 0
    files.get("lake/fixed/", f"{tmp_path}/got/fixed/", recursive=True)
    on_disk, on_s3 = (
        {name: data for name, data in read_files(tmp_path / place / "fixed").items() if ".zarr/" in name}
        for place in ("lake", "got")
    )
    assert on_s3 == on_disk
    assert "b.zarr/labels/c/1/0/0" in on_disk
    first, second = found.values()
    assert read_rows(first) == read_rows(second)
    assert [record(out)["kept_sources"] for out in (first, second)] == [1, 1]
    assert SECRET_KEY not in (tmp_path / "got/fixed/corrections.json").read_text()
    assert SECRET_KEY not in capsys.readouterr().out


@pytest.mark.slow
def test_labels_that_the_keys_may_not_read_are_said(
    s3_server: S3Server,
    s3_credentials: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The folder of corrections is the first thing that is asked of the store."""
    write_source(tmp_path / "a.zarr")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-tests")
    resolve_credentials.cache_clear()
    words = ("--source", tmp_path / "a.zarr", "--labels_from", "s3://lake/fixed", "--out", tmp_path / "out")
    assert run_cli("run", *words, *s3_server.cli_args) == 2
    said = error_message(capsys)
    assert said.startswith("s3://lake/fixed cannot be read")
    assert "wrong-secret" not in said
