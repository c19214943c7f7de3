"""Commands on a real S3 server write what they write on disk, and no credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.evaluate.helpers import (
    image_name,
    plant_errors,
    read_metrics,
    run_planted,
    write_image_list,
    write_simulation,
)
from prepare.ingest.helpers import InputFiles, assert_ingest_fails
from review.helpers import read_record, read_regions, region_decision, write_decisions
from review.report.report_files import write_rgb_source
from support.cli import exit_code, run_cli
from support.results import read_files, read_rows
from support.s3_server import SECRET_KEY, S3Server
from support.sources import make_data, write_source


@dataclass
class Place:
    """A directory of a test, on disk or on the S3 server, and the arguments that reach it."""

    url: str
    directory: Path
    server: S3Server | None = None

    @property
    def args(self) -> tuple[str, ...]:
        return () if self.server is None else self.server.cli_args

    def path(self, name: str) -> Path:
        """Return the local path of an output; on S3 download it first."""
        if self.server is not None:
            files = self.server.filesystem()
            files.get(f"{self.url.removeprefix('s3://')}/{name}/", f"{self.directory}/{name}/", recursive=True)
        return self.directory / name

    def put(self, file: Path) -> str:
        """Return the URL of a local file, which is uploaded on S3."""
        if self.server is None:
            return str(file)
        self.server.filesystem().put(str(file), f"{self.url.removeprefix('s3://')}/{file.name}")
        return f"{self.url}/{file.name}"


Results = Mapping[str, Any]


def select(files: Mapping[str, bytes], *parts: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if any(part in name for part in parts)}


def prepare_simulate(directory: Path) -> None:
    data = make_data(height=24, width=32)
    write_source(directory / "a.zarr", data, label_chunks=(1, 24, 32), label_shards=(4, 24, 32))


def simulate(place: Place) -> Results:
    args = ("--source", f"{place.url}/a.zarr", "--out", f"{place.url}/known", "--share", 0.5, *place.args)
    assert run_cli("simulate", "shift", *args) == 0
    labels = f"{place.url}/known/labels"
    out = place.directory / "run"
    assert run_cli("run", "--source", f"{place.url}/a.zarr", "--labels_from", labels, "--out", out, *place.args) == 0
    files = read_files(place.path("known"))
    assert any(name.endswith("labels/c/1/0/0") for name in files)
    return {**select(files, "labels/", "truth/"), "rows": read_rows(out)}


def prepare_ingest(directory: Path) -> None:
    data = InputFiles(directory).data
    np.save(directory / "labels.npy", data.labels)
    np.save(directory / "pred_probs.npy", data.predictions)


def ingest(place: Place) -> Results:
    results = {}
    for out, labels, predictions in (
        ("images.zarr", "labels/*.png", "predictions"),
        ("arrays.zarr", "labels.npy", "pred_probs.npy"),
    ):
        inputs = ("--labels", f"{place.url}/{labels}", "--predictions", f"{place.url}/{predictions}", "--ignore", 255)
        assert run_cli("ingest", *inputs, "--out", f"{place.url}/{out}", *place.args) == 0
        files = read_files(place.path(out))
        assert "labels/c/0/0/0" in files
        place_names = ("ingest/", "origin/zarr.json")  # these name the place of the files
        results[out] = {name: data for name, data in files.items() if not name.startswith(place_names)}
    return results


def prepare_evaluate(directory: Path) -> None:
    planted = plant_errors(images=12)
    run_planted(planted, directory)
    write_simulation(directory / "simulated", planted)
    write_image_list(directory / "wrong.csv", [{"image_id": image_name(i)} for i in planted.images])


def evaluate(place: Place) -> Results:
    run = f"{place.url}/run"
    assert run_cli("run", "--source", f"{place.url}/given.zarr", "--out", run, *place.args) == 0
    results = {}
    for truth in ("right.zarr", "simulated", "wrong.csv"):
        args = ("--truth", f"{place.url}/{truth}", "--out", f"{place.url}/evaluated-{truth}", "--bootstrap", 50)
        assert run_cli("evaluate", run, *args, *place.args) == 0
        results[truth] = read_metrics(place.path(f"evaluated-{truth}"))
    return results


def prepare_corrections(directory: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_source(directory / f"{name}.zarr", make_data(images=4, seed=seed))


def corrections(place: Place) -> Results:
    run, fixed = f"{place.url}/run", f"{place.url}/fixed"
    source = ("--source", f"{place.url}/[ab].zarr", "--regions.min_area", 1, *place.args)
    assert run_cli("run", *source, "--out", run) == 0
    out = place.path("run")
    accepted = write_decisions(
        place.directory / "verdicts.json", out, *map(region_decision, read_regions(out, source="b")[::2])
    )
    verdicts = ("--verdicts", place.put(accepted), "--out", fixed, *place.args)
    assert run_cli("export", "corrections", run, *verdicts) == 0
    rerun = place.directory / "rerun"
    assert run_cli("run", *source, "--labels_from", fixed, "--base", run, "--out", rerun) == 0
    assert read_record(rerun)["kept_sources"] == 1
    assert exit_code("compare", run, rerun, *place.args) == 0
    files = select(read_files(place.path("fixed")), ".zarr/")
    assert "b.zarr/labels/c/1/0/0" in files
    return {**files, "rows": read_rows(rerun)}


def prepare_report(directory: Path) -> None:
    write_rgb_source(directory / "a.zarr", make_data(images=5))


def report(place: Place) -> Results:
    run = f"{place.url}/run"
    assert run_cli("run", "--source", f"{place.url}/a.zarr", "--out", run, *place.args) == 0
    first = read_files(place.path("run/report"))
    assert len(first) > 10
    if place.server is not None:
        assert content_types(place.server, f"{place.url}/run/report") == {
            "index.html": "text/html; charset=utf-8",
            "data/run.js": "text/javascript",
            "pictures/00000004.jpg": "image/jpeg",
            "pictures/00000004.png": "image/png",
        }
        for name in first:  # a smaller report removes files of the larger one; downloads must not keep them
            (place.directory / "run/report" / name).unlink()
    assert run_cli("report", run, "--top", 2, *place.args) == 0
    second = read_files(place.path("run/report"))
    assert first.keys() - second.keys(), "small images share a file, which is named after the first of them"
    del first["data/run.js"], second["data/run.js"]
    return {"first": first, "second": second}


def content_types(server: S3Server, url: str) -> dict[str, str]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    files, names = server.filesystem(), ("index.html", "data/run.js", "pictures/00000004.jpg", "pictures/00000004.png")
    return {name: files.call_s3("head_object", Bucket=bucket, Key=f"{prefix}/{name}")["ContentType"] for name in names}


COMMANDS: dict[str, tuple[Callable[[Path], None], Callable[[Place], Results]]] = {
    "simulate": (prepare_simulate, simulate),
    "ingest": (prepare_ingest, ingest),
    "evaluate": (prepare_evaluate, evaluate),
    "corrections": (prepare_corrections, corrections),
    "report": (prepare_report, report),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_on_s3_writes_the_results_of_the_command_on_disk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, execute = COMMANDS[command]
    (tmp_path / "disk").mkdir()
    prepare(tmp_path / "disk")
    s3_server.filesystem().put(f"{tmp_path}/disk/", f"lake/{command}/", recursive=True)
    on_disk = execute(Place(str(tmp_path / "disk"), tmp_path / "disk"))
    on_s3 = execute(Place(f"s3://lake/{command}", tmp_path / "s3", s3_server))
    assert on_s3 == on_disk
    printed = capsys.readouterr()
    assert SECRET_KEY not in printed.out + printed.err
    assert not any(SECRET_KEY.encode() in data for data in read_files(tmp_path / "s3").values())


def test_ingest_of_a_url_without_files_fails_with_the_url(
    s3_server: S3Server, s3_credentials: None, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--labels", "s3://lake/nothing", "--predictions", "p", "--out", "s3://lake/o", *s3_server.cli_args)
    assert_ingest_fails(".* (at|in) s3://lake/nothing", capsys, *args)
