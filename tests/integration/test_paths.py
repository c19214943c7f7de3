"""Paths: every command takes names literally, and none writes into its input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from prepare.predict.helpers import make_images, write_images
from review.helpers import region_decision, write_decisions
from support.cli import error_message, exit_code, run_cli
from support.results import read_files, read_rows
from support.sources import make_data, write_source

NAME = "we[1]*?::%20# ü"
"""Directory whose name holds every character that a URL or a glob interprets."""

SERIAL = ("ingest", "run", "score", "report", "simulate", "evaluate", "sweep", "predict")
"""Commands with an executor."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the name with a source `a.zarr`, images to train on in `scenes.zarr`, and a run in `quality`."""
    directory = tmp_path_factory.mktemp("paths") / NAME
    write_source(directory / "a.zarr", make_data())
    rgb, labels = make_images()
    write_images(directory / "scenes.zarr", rgb, labels)
    run(directory, "quality")
    rows = read_rows(directory / "quality", "regions")
    write_decisions(directory / "decisions.json", directory / "quality", *map(region_decision, rows[:3]))
    return directory


def run(directory: Path, out: str) -> None:
    """Complete a run that lists regions of any size."""
    args = ("--source", directory / "a.zarr", "--out", directory / out, "--regions.min_area", 1)
    assert run_cli("run", *args) == 0


def save_files(directory: Path) -> None:
    """Write labels, predictions and images as files."""
    data = make_data(images=2)
    for folder in ("labels", "predictions", "images"):
        (directory / folder).mkdir(exist_ok=True)
    for i in range(2):
        Image.fromarray(data.labels[i]).save(directory / f"labels/{i}.png")
        Image.fromarray(data.labels[i]).convert("RGB").save(directory / f"images/{i}.png")
        np.save(directory / f"predictions/{i}.npy", data.predictions[i])


def test_every_command_takes_paths_globs_and_urls_in_a_directory_with_any_name(
    inputs: Path,
) -> None:
    d, source, quality = inputs, inputs / "a.zarr", inputs / "quality"
    save_files(d)
    commands: list[tuple[object, ...]] = [
        ("ingest", "--labels", d / "labels", "--predictions", f"{d}/predictions/*", "--ignore", 255,
         "--images", (d / "images").as_uri(), "--out", (d / "ingested.zarr").as_uri()),
        ("plan", "--source", source, "--out", d / "new"),
        ("run", "--source", d / "ing*.zarr", "--out", (d / "by url").as_uri()),
        ("run", "--source", source.as_uri(), "--out", f"{d}/slash/", "--regions.min_area", 1),
        ("score", quality, "--out", d / "score", "--regions.min_area", 1),
        ("report", quality.as_uri()),
        ("top", quality),
        ("show", quality, "a/0", "--out", d / "a.png"),
        ("compare", quality, d / "score"),
        ("check", quality, "--max_flagged", "100%"),
        ("export", "coco", quality, "--verdicts", d / "decisions.json", "--out", d / "coco"),
        ("export", "corrections", quality, "--verdicts", (d / "decisions.json").as_uri(), "--out", d / "corrected"),
        ("run", "--source", source, "--labels_from", d / "corrected", "--base", quality, "--out", d / "again"),
        ("simulate", "swap", "--source", d / "a.*", "--share", 0.5, "--out", d / "known"),
        ("run", "--source", source, "--labels_from", (d / "known/labels").as_uri(), "--out", d / "wrong"),
        ("evaluate", d / "wrong", "--truth", d / "known", "--out", d / "evaluated"),
        ("evaluate", d / "wrong", "--truth", source.as_uri(), "--out", d / "evaluated 2"),
        ("sweep", "--source", source, "--kinds", "swap", "--shares", 0.5, "--out", d / "sweep"),
        ("predict", "--source", d / "scenes.zarr", "--folds", 2, "--out", d / "predicted.zarr"),
        ("run", "--source", d / "predicted.zarr", "--arrays.predictions",
         f"predictions,{(d / 'predicted.zarr').as_uri()}/predictions", "--out", d / "ensemble"),
    ]  # fmt: skip
    for command in commands:
        in_processes = command[0] in SERIAL or command[1] == "corrections"
        assert exit_code(*command, *(("--executor", "serial") if in_processes else ())) == 0, command
    assert read_rows(d / "slash") == read_rows(quality)
    assert sorted(p.name for p in d.parent.iterdir()) == [NAME], "nothing is written elsewhere"


WRITERS: dict[str, tuple[str, ...]] = {
    "plan": ("plan", "--source", "{d}/a.zarr"),
    "run": ("run", "--source", "{d}/a.zarr"),
    "run on arrays": ("run", "--labels", "{d}/a.zarr/labels", "--predictions", "{d}/a.zarr/predictions"),
    "score": ("score", "{d}/quality"),
    "simulate": ("simulate", "swap", "--source", "{d}/a.zarr", "--share", "0.5"),
    "sweep": ("sweep", "--source", "{d}/a.zarr", "--kinds", "swap"),
    "predict": ("predict", "--source", "{d}/a.zarr", "--classes", "a,b,c,d", "--arrays.images", "images"),
    "evaluate": ("evaluate", "{d}/quality", "--truth", "{d}/a.zarr"),
    "corrections": ("export", "corrections", "{d}/quality", "--verdicts", "{d}/decisions.json"),
    "coco": ("export", "coco", "{d}/quality"),
    "ingest": ("ingest", "--labels", "{d}/a.zarr/files/labels", "--predictions", "{d}/a.zarr/files/predictions/*"),
}
"""Arguments of every command that writes, without its output."""


@pytest.fixture(scope="module")
def overlaps(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the inputs of every command in `a.zarr`, a link `link.zarr` to it, and a file `file`."""
    directory = tmp_path_factory.mktemp("overlaps")
    write_source(directory / "a.zarr", make_data())
    group = zarr.open_group(directory / "a.zarr")
    group.create_array("images", data=np.zeros((8, 8, 10, 3), np.uint8))
    run(directory, "quality")
    rows = read_rows(directory / "quality", "regions")
    write_decisions(directory / "decisions.json", directory / "quality", region_decision(rows[0]))
    (directory / "a.zarr/files").mkdir()
    save_files(directory / "a.zarr/files")
    (directory / "link.zarr").symlink_to(directory / "a.zarr")
    (directory / "file").write_bytes(b"content")
    return directory


OUTPUTS = {
    "a.zarr/files/labels/out": "is inside the input",
    "link.zarr/files/labels/out": "is inside the input",
    "": "contains the input",
    "file": "is a file, but --out",
    "file/new": "is a file, but --out",
}


@pytest.mark.parametrize("verb", WRITERS)
def test_output_that_overlaps_with_an_input_or_is_a_file_is_refused(
    overlaps: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(overlaps)
    args = [arg.format(d=overlaps) for arg in WRITERS[verb]]
    for out, reason in OUTPUTS.items():
        capsys.readouterr()
        assert exit_code(*args, "--out", overlaps / out) == 2, out
        assert reason in error_message(capsys)
    assert read_files(overlaps) == before, "nothing is written"
