"""Labels misplaced as a whole are found by a run, with the same bits for any blocks, parts and path of the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import masksift
from masksift.engine.planning import layout, requests
from reference.misplaced import find_misplaced
from review.report.report_files import Page
from support.cli import exit_code, run_cli
from support.datasets import Data, make_dataset
from support.results import read_rows
from support.run_processes import write_dataset_source

COLUMNS = ("suspected_transform", "transform_gain")
PLANTED = {
    2: "roll(dy=-12, dx=20)",
    6: "flip(lr)",
    9: "flip(ud)",
    12: "rotate(180)",
    15: "neighbor(+1)",
    16: "neighbor(-1)",
    19: "neighbor(+2)",
    21: "neighbor(-2)",
}


def planted() -> Data:
    """24 images of 48 x 64 pixels and 5 classes, with misplaced labels; pixels of the others have errors too."""
    data = make_dataset(11, images=24, classes=5, height=48, width=64, dtype="uint8")
    labels = data.labels.copy()
    labels[2] = np.roll(data.labels[2], (-12, 20), axis=(0, 1))
    labels[6], labels[9], labels[12] = data.labels[6, :, ::-1], data.labels[9, ::-1], data.labels[12, ::-1, ::-1]
    labels[[15, 16, 19, 21]] = data.labels[[16, 15, 21, 19]]
    labels[4] = 255
    return data._replace(labels=labels)


def found(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in COLUMNS) for row in rows]


@pytest.fixture(scope="module")
def data() -> Data:
    return planted()


@pytest.fixture(scope="module")
def expected(data: Data) -> list[tuple[Any, ...]]:
    labels = [[[None if v == 255 else v for v in row] for row in plane] for plane in data.labels.tolist()]
    transforms = find_misplaced(labels, data.predictions.argmax(axis=1).tolist())
    assert [transform for transform, _ in transforms] == [PLANTED.get(i) for i in range(24)]
    return transforms


@pytest.fixture(scope="module")
def sources(data: Data, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two sources with the same images."""
    folder = tmp_path_factory.mktemp("sources")
    return [str(write_dataset_source(folder / f"{name}.zarr", data, chunk=3)) for name in ("a", "b")]


@pytest.mark.parametrize(
    ("blocks", "part_rows"), [(1, 1 << 16), (1 << 30, 1 << 16), (1 << 30, 7), (1 << 30, 1), (4, 5)]
)
def test_any_blocks_and_parts_have_the_transforms_of_the_reference(
    sources: list[str],
    expected: list[tuple[Any, ...]],
    blocks: int,
    part_rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "TARGET_BLOCKS", blocks)
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 1)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 1)
    monkeypatch.setattr(requests, "IMAGE_PART_ROWS", part_rows)
    masksift.run(masksift.RunConfig(sources=sources, out=str(tmp_path / "run"), executor={"kind": "serial"}))
    assert found(read_rows(tmp_path / "run")) == expected * 2
    ranking = {(row["source"], row["index"]): row for row in read_rows(tmp_path / "run", "ranking")}
    for row in read_rows(tmp_path / "run"):
        if row["status"] == "scored":
            assert found([ranking[row["source"], row["index"]]]) == found([row])


def test_padding_is_left_out(data: Data, expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    right = ((0, 0),) * 2 + ((0, 20), (0, 36))
    predictions, labels = np.pad(data.predictions, right, "edge"), np.pad(data.labels, right[1:], "wrap")
    write_dataset_source(tmp_path / "padded.zarr", Data(predictions, labels, data.ignore))
    group = zarr.open_group(tmp_path / "padded.zarr", mode="r+")
    for name, extent in (("height", 48), ("width", 64)):
        group.create_array(name, data=np.full(24, extent, np.int32))
    arguments = ("--source", tmp_path / "padded.zarr", "--max_quarantined", 1)
    assert run_cli("run", *arguments, "--out", tmp_path / "run") == 0
    assert found(read_rows(tmp_path / "run")) == expected
    assert run_cli("score", tmp_path / "run", "--max_quarantined", 1, "--out", tmp_path / "scored") == 0
    assert found(read_rows(tmp_path / "scored")) == expected


def test_commands_and_audit_say_how_labels_are_misplaced(
    sources: list[str], data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("run", "--source", sources[0], "--out", tmp_path / "run", "--max_quarantined", 1) == 0
    words = {
        6: "mirrored left to right",
        15: "like those of image 16",
        2: "rolled by about 12 rows up and 20 columns right",
    }
    capsys.readouterr()
    assert exit_code("top", tmp_path / "run", "--top", 24) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.endswith("  labels look")
    for index, text in words.items():
        [line] = [line for line in lines if f"scene-{index:04d}" in line]
        assert line.endswith(f"  {text}")
    page = {row["index"]: row["misplaced"] for row in Page(tmp_path / "run").rows}
    audit = masksift.audit(data.labels, data.predictions, ignore=255)
    for index in (1, *words):
        sentence = f"labels look {words[index]}" if index in words else ""
        assert page[index] == sentence
        assert exit_code("show", tmp_path / "run", f"scene-{index:04d}", "--out", tmp_path / "x.png") == 0
        printed = capsys.readouterr().out.splitlines()
        drawn = [text.get_text() for text in audit.show(index).texts]
        for texts in (printed, drawn):
            assert [text for text in texts if text.startswith("labels look")] == ([sentence] if sentence else [])


def test_reused_stored_and_frozen_evidence_has_the_same_transforms(
    sources: list[str], data: Data, expected: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    audit = masksift.audit(data.labels, data.predictions, ignore=255)
    assert found(audit.images.to_pylist()) == expected
    audit.save(str(tmp_path / "saved"), source=str(tmp_path / "saved.zarr"), top=0)
    runs = {
        "first": ("run", "--source", sources[0]),
        "again": ("run", "--source", sources[0], "--base", tmp_path / "first"),
        "frozen": ("run", "--source", sources[0], "--thresholds-from", tmp_path / "first"),
        "scored": ("score", tmp_path / "saved"),
    }
    for name, args in runs.items():
        assert run_cli(*args, "--out", tmp_path / name, "--max_quarantined", 1) == 0
        assert found(read_rows(tmp_path / name)) == expected, name
    assert found(read_rows(tmp_path / "saved")) == expected
