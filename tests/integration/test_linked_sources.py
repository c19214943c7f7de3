"""Predictions that stay in the user's files give the results of predictions that were copied, bit by bit."""

from __future__ import annotations

import io
import os
import re
import shlex
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import masksift
from masksift.config.sections import are_files
from masksift.core.errors import DataError
from masksift.engine.planning import layout
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError
from prepare.ingest.helpers import InputFiles, fail_at_fourth_image, save_image
from support.cli import error_message, exit_code, run_cli
from support.datasets import Array
from support.results import read_files, read_rows
from support.run_processes import TABLES, read_tables

Save = Callable[[Path, Array], None]


def save_npy(path: Path, values: Array) -> None:
    np.save(path.with_suffix(".npy"), values)


def save_npz(path: Path, values: Array) -> None:
    np.savez(path.with_suffix(".npz"), values)


def save_compressed(path: Path, values: Array) -> None:
    np.savez_compressed(path.with_suffix(".npz"), image=np.zeros(3), softmax=values)


@dataclass(frozen=True)
class Case:
    """Stored form of the probabilities (K, H, W) of an image."""

    encode: Callable[[Array], Array]
    save: Save = save_npy
    flags: Sequence[object] = ()


def steps(maximum: int, dtype: str) -> Callable[[Array], Array]:
    return lambda p: np.rint(p * maximum).astype(dtype)


CASES = {
    "float16": Case(lambda p: p.astype(np.float16)),
    "float32": Case(lambda p: p),
    "float64": Case(lambda p: p.astype(np.float64)),
    "uint8": Case(steps(255, "u1")),
    "uint16": Case(steps(65535, "u2")),
    "uint8 in steps of a percent": Case(steps(100, "u1"), flags=("--scale", 0.01)),
    "logits": Case(lambda p: np.log(p), flags=("--kind", "logits")),
    "classes last": Case(lambda p: np.moveaxis(p, 0, -1)),
    "Fortran order": Case(lambda p: np.asfortranarray(p)),
    "classes last in Fortran order": Case(lambda p: np.asfortranarray(np.moveaxis(p, 0, -1))),
    "big-endian": Case(lambda p: p.astype(">f4")),
    "axis of length 1": Case(lambda p: p[:, None]),
    "npz": Case(lambda p: p, save_npz),
    "npz, deflated": Case(lambda p: p, save_compressed),
    "npz, deflated, classes last": Case(lambda p: np.moveaxis(p, 0, -1).astype(np.float16), save_compressed),
}
BINARY_CASES = {
    "plane": Case(lambda p: p[0]),
    "plane (1, H, W)": Case(lambda p: p[:1]),
    "plane (H, W, 1) in Fortran order": Case(lambda p: np.asfortranarray(p[0][..., None])),
    "plane of logits": Case(lambda p: np.log(p[0]) * 3, flags=("--kind", "logits")),
    "plane of uint8": Case(lambda p: steps(255, "u1")(p[0]), flags=("--scale", 1 / 255)),
    "plane of float64, deflated": Case(lambda p: p[0].astype(np.float64), save_compressed),
}


@dataclass(frozen=True)
class Folder:
    """Labels and predictions as files, with the flags that describe them."""

    path: Path
    flags: tuple[object, ...]

    @property
    def predictions(self) -> list[Path]:
        return sorted((self.path / "predictions").iterdir())

    def ingest(self, name: str, *more: object) -> Path:
        source = self.path / name / "source.zarr"
        assert run_cli("ingest", *self.flags, *more, "--out", source) == 0
        return source

    def tables(self, source: Path, name: str = "out", *more: object) -> dict[str, pa.Table]:
        out = source.parent / name
        assert run_cli("run", "--source", source, "--report.top", 0, "--out", out, *more) == 0
        return read_tables(out)


def make_folder(path: Path, case: Case = CASES["float32"], *, binary: bool = False) -> Folder:
    files = InputFiles(path)
    files.remove_predictions()
    for name, label, values in zip(files.names, files.data.labels, files.data.predictions, strict=True):
        case.save(files.predictions / name, case.encode(values))
        if binary:
            np.save(files.labels / f"{name}.npy", np.where(label == 255, label, label % 2).astype(np.uint8))
            (files.labels / f"{name}.png").unlink()
    return Folder(path, ("--labels", files.labels, "--predictions", files.predictions, "--ignore", 255, *case.flags))


def assert_same(tables: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for name in TABLES:
        assert tables[name].equals(expected[name]), name


def open_reader(source: Path) -> tuple[ArrayReader, tuple[int, ...]]:
    spec = open_source(str(source), Overrides(), {}).predictions
    return ArrayReader(spec, {}), spec.shape


def read(reader: ArrayReader, shape: tuple[int, ...], image: int) -> Array:
    window = (slice(image, image + 1), *(slice(0, size) for size in shape[1:]))
    return reader.read(*window, out=np.empty((1, *shape[1:]), np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_folder(tmp_path)


@pytest.mark.parametrize("name", [*CASES, *BINARY_CASES])
def test_linked_predictions_give_the_results_of_copied_ones(tmp_path: Path, name: str) -> None:
    binary = name in BINARY_CASES
    folder = make_folder(tmp_path, {**CASES, **BINARY_CASES}[name], binary=binary)
    linked = folder.ingest("linked", "--link")
    assert not (linked / "predictions/c").exists()
    assert_same(folder.tables(linked), folder.tables(folder.ingest("copied")))


@pytest.mark.parametrize("axes", ["class", "none"])
def test_linked_array_of_all_images_gives_the_results_of_a_copied_one(tmp_path: Path, axes: str) -> None:
    data = InputFiles(tmp_path).data
    binary = axes == "none"
    np.save(tmp_path / "labels.npy", data.labels % 2 if binary else data.labels)
    np.save(tmp_path / "all.npy", data.predictions[:, 0] if binary else data.predictions[:, :, None])
    folder = Folder(
        tmp_path, ("--labels", tmp_path / "labels.npy", "--predictions", tmp_path / "all.npy", "--ignore", 255)
    )
    assert_same(folder.tables(folder.ingest("linked", "--link")), folder.tables(folder.ingest("copied")))


def test_linked_predictions_on_a_local_cluster_give_the_same_results(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = folder.ingest("linked", "--link")
    expected = folder.tables(linked)
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 1)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    args = ("run", "--source", linked, "--report.top", 0, "--out", folder.path / "cluster", "--log-format", "quiet")
    assert exit_code(*args, "--executor", "local", "--executor.workers", 2, "--executor.memory", "2 GiB") == 0
    assert_same(read_tables(folder.path / "cluster"), expected)


def test_verify_show_and_doctor_read_linked_predictions(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    linked = folder.ingest("linked", "--link")
    folder.tables(linked)
    out = linked.parent / "out"
    assert exit_code("verify", out, "--sample", "all") == 0
    assert exit_code("doctor", linked, "--ignore", 255) == 0
    assert exit_code("top", out) == 0


def test_missing_file_quarantines_its_image(folder: Folder) -> None:
    linked = folder.ingest("linked", "--link")
    folder.predictions[2].unlink()
    assert run_cli("run", "--source", linked, "--out", folder.path / "out") == 3
    rows = read_rows(folder.path / "out")
    assert [row["status"] for row in rows] == ["scored", "scored", "missing_chunk", "scored", "scored"]
    assert rows[2]["reason"].endswith(f"does not exist (file {folder.path}/predictions/scene_02.npy)")


@pytest.mark.parametrize("change", ["time", "size"])
def test_file_changed_since_it_was_linked_is_refused(
    folder: Folder, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    linked = folder.ingest("linked", "--link")
    if change == "time":
        os.utime(folder.predictions[3], ns=(1, 1))
    else:
        np.save(folder.predictions[3], np.zeros((4, 8, 11), np.float32))
    capsys.readouterr()
    assert run_cli("run", "--source", linked, "--out", folder.path / "out") == 2
    assert re.search(r"scene_03\.npy has changed since it was linked to .*another --out", error_message(capsys))


@pytest.mark.parametrize("name", ["float32", "classes last", "npz, deflated"])
def test_file_changed_during_a_run_is_a_damaged_chunk(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path, CASES[name])
    reader, shape = open_reader(folder.ingest("linked", "--link"))
    read(reader, shape, 1)
    os.utime(folder.predictions[3], ns=(1, 1))
    with pytest.raises(ChunkDecodeError, match=r"c/3/0/0/0 of .*scene_03\.np. has changed since it was linked"):
        read(reader, shape, 3)


@pytest.mark.parametrize("piece", [1, 64, 1 << 20])
def test_deflated_array_is_read_in_pieces(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masksift.storage.zarr.links._PIECE_BYTES", piece)
    reader, shape = open_reader(make_folder(tmp_path, CASES["npz, deflated"]).ingest("linked", "--link"))
    for image, expected in enumerate(InputFiles(tmp_path / "again").data.predictions):
        np.testing.assert_array_equal(read(reader, shape, image)[0], expected)


@pytest.mark.parametrize("name", ["npz", "npz, deflated"])
def test_flipped_bit_in_an_archive_is_a_damaged_chunk(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path, CASES[name])
    reader, shape = open_reader(folder.ingest("linked", "--link"))
    file, time = folder.predictions[1], folder.predictions[1].stat().st_mtime_ns
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(time, time))
    with pytest.raises(ChunkDecodeError, match=r"c/1/0/0/0 of .*scene_01\.npz"):
        read(reader, shape, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"stored": 1 << 40}, r"gives it 1,099,511,627,776 bytes, a chunk has 1,280"),
        ({"member_size": 1 << 40, "member_header": (1 << 40) - 1280, "member_crc": 0, "deflated": True}, "a header of"),
        ({"offset": -1}, "gives it"),
        ({"version": None}, "lacks values"),
        ({"member_size": 1280}, "lacks values"),
    ],
)
def test_damaged_table_of_files_allocates_nothing(folder: Folder, row: dict[str, Any], reason: str) -> None:
    linked = folder.ingest("linked", "--link")
    reader, shape = open_reader(linked)
    path = linked / "predictions/links/00000000.parquet"
    table = pq.read_table(path)
    rows = [{**one, **row} for one in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    with pytest.raises(ChunkDecodeError, match=reason):
        read(reader, shape, 0)


def test_table_that_is_no_parquet_is_a_damaged_chunk(folder: Folder) -> None:
    linked = folder.ingest("linked", "--link")
    reader, shape = open_reader(linked)
    (linked / "predictions/links/00000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ChunkDecodeError, match="its table of files cannot be read"):
        read(reader, shape, 0)


def test_interrupted_link_is_resumed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_files(folder.ingest("expected", "--link") / "predictions/links")
    monkeypatch.setattr("masksift.prepare.ingest.links.LINKS_PER_TABLE", 2)
    monkeypatch.setattr("masksift.storage.zarr.writer.LINKS_PER_TABLE", 2)
    written = fail_at_fourth_image(monkeypatch)
    source = folder.path / "linked/source.zarr"
    assert run_cli("ingest", *folder.flags, "--link", "--out", source) == 5
    assert run_cli("ingest", *folder.flags, "--link", "--out", source) == 0
    assert len(written) == 4 + 5
    tables = read_files(source / "predictions/links")
    assert len(tables) == 3
    rows = [pq.read_table(source / "predictions/links" / name).num_rows for name in tables]
    assert (rows, pq.read_table(io.BytesIO(next(iter(expected.values())))).num_rows) == ([2, 2, 1], 5)
    assert_same(folder.tables(source), folder.tables(folder.path / "expected/source.zarr"))


def test_evidence_of_unchanged_linked_sources_is_reused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    linked = folder.ingest("linked", "--link")
    folder.tables(linked)
    capsys.readouterr()
    args = ("run", "--source", linked, "--executor", "serial", "--report.top", 0, "--softmin.temperature", 0.2)
    assert exit_code(*args, "--base", linked.parent / "out", "--out", folder.path / "next") == 0
    assert "1 of 1 sources are taken over" in capsys.readouterr().err
    folder.predictions[0].unlink()
    assert exit_code(*args, "--base", linked.parent / "out", "--out", folder.path / "last") == 3
    assert "0 of 1 sources are taken over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (CASES["big-endian"], r"scene_01\.npy are >f4 .* the first image are <f4 .*Drop --link"),
        (CASES["Fortran order"], r"\(x, y, class\) .* the first image are .*\(class, y, x\).*Drop --link"),
    ],
)
def test_files_of_different_layouts_are_not_linked(
    folder: Folder, second: Case, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder.predictions[1], second.encode(np.load(folder.predictions[1])))
    assert run_cli("ingest", *folder.flags, "--link", "--out", folder.path / "linked/source.zarr") == 2
    assert re.search(error, error_message(capsys))
    folder.ingest("copied")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--dtype", "uint8"), "dtype is set, but linked predictions are read as they are stored.*Drop --dtype"),
        (("--pad",), "pad is set"),
        (("--resize", "labels"), "resize is set"),
    ],
)
def test_conversion_of_linked_predictions_is_refused(
    folder: Folder, flags: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("ingest", *folder.flags, *flags, "--link", "--out", folder.path / "linked/source.zarr") == 2
    assert re.search(error, error_message(capsys))


def test_class_numbers_are_not_linked(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for file in folder.predictions:
        np.save(file, np.load(file).argmax(0).astype(np.uint8))
    args = ("--classes", "a,b,c,d", "--link", "--out", folder.path / "linked/source.zarr")
    assert run_cli("ingest", *folder.flags, *args) == 2
    assert re.search("are class numbers, which cannot be linked.*Drop --link", error_message(capsys))
    assert not (folder.path / "linked").exists()


def test_attribute_of_links_that_is_invalid_is_refused(folder: Folder) -> None:
    linked = folder.ingest("linked", "--link")
    metadata = linked / "predictions/zarr.json"
    metadata.write_text(metadata.read_text().replace('"rows": 4096', '"rows": 0'))
    with pytest.raises(DataError, match="masksift_links is"):
        open_source(str(linked), Overrides(), {})


def run_files(folder: Folder, out: Path, *more: object) -> int:
    return exit_code("run", *folder.flags, "--out", out, "--executor", "serial", "--report.top", 3, *more)


def test_run_reads_files_directly_with_the_results_of_copied_ones(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.path / "out"
    images = folder.path / "images"
    for i in range(5):
        save_image(images / f"scene_{i:02d}.png", np.full((8, 10, 3), i, np.uint8))
    assert run_files(folder, out, "--images", images, "--classes", "a,b,c,d", "--softmin.temperature", 0.2) == 0
    printed = capsys.readouterr().err
    commands = re.findall(r"^step \d of 2: masksift (.*)$", printed, re.M)
    assert [words.split()[0] for words in commands] == ["ingest", "run"]
    before = read_files(out)
    for command in commands:
        assert exit_code(*shlex.split(command)) == 0
    assert read_files(out) == before, "the printed commands find their results"

    copied = folder.path / "copied/linked.zarr"
    assert run_cli("ingest", *folder.flags, "--images", images, "--classes", "a,b,c,d", "--out", copied) == 0
    again = ("--report.top", 3, "--softmin.temperature", 0.2)
    assert run_cli("run", "--source", copied, "--out", folder.path / "expected", *again) == 0
    assert_same(read_tables(out), read_tables(folder.path / "expected"))
    pictures = {name: data for name, data in before.items() if name.endswith(".png")}
    assert pictures
    assert pictures == {name: data for name, data in read_files(folder.path / "expected").items() if name in pictures}


def test_run_of_files_is_continued_and_scored_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_fourth_image(monkeypatch)
    assert run_files(folder, folder.path / "out") == 5
    assert run_files(folder, folder.path / "out") == 0
    assert exit_code("score", folder.path / "out", "--out", folder.path / "next", "--softmin.temperature", 0.1) == 0


def test_run_of_files_from_toml_and_python(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    text = 'labels = "labels"\npredictions = "predictions"\nignore = [255]\nout = "toml"\n[report]\ntop = 0\n'
    Path("run.toml").write_text(text)
    assert run_cli("run", "run.toml") == 0
    config = masksift.RunConfig(
        labels="labels", predictions="predictions", ignore=(255,), out="python", report={"top": 0}
    )
    assert masksift.run(config).exit_code == 0
    assert_same(read_tables(Path("toml")), read_tables(Path("python")))


def test_run_reads_lists_of_files(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    for side, ending in (("labels", "png"), ("predictions", "npy")):
        Path(f"{side}.txt").write_text("".join(f"{side}/scene_{i:02d}.{ending}\n" for i in (3, 1)))
    args = ("--labels", "labels.txt", "--predictions", "predictions.txt", "--ignore", 255)
    assert run_cli("run", *args, "--out", "out") == 0
    assert [row["image_id"] for row in read_rows(Path("out"))] == ["scene_01", "scene_03"]


def test_run_of_files_without_a_partner_has_exit_code_3(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.predictions[4].unlink()
    assert run_files(folder, folder.path / "out") == 3
    assert "unmatched: 1 labels (scene_04.png)" in capsys.readouterr().err
    assert len(read_rows(folder.path / "out")) == 4


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--predictions", "x.zarr"), r"labels are files .*, predictions are not \(x\.zarr\)"),
        (("--labels", "x.zarr"), r"predictions are files .*, labels are not \(x\.zarr\)"),
        (("--source", "x.zarr"), "--labels and --predictions and --source are given"),
    ],
)
def test_run_of_files_and_arrays_is_refused(
    folder: Folder, flags: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_files(folder, folder.path / "out", *flags) == 2
    assert re.search(error, error_message(capsys))


def test_preset_of_a_zarr_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("run", "--source", "x.zarr", "--preset", "voc", "--out", tmp_path) == 2
    assert re.search("preset is set, but labels are not files.*Drop --preset", error_message(capsys))


def test_plan_of_files_names_the_command_that_links_them(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("plan", *folder.flags, "--out", folder.path / "out") == 2
    message = error_message(capsys)
    command = re.search(r"`masksift (ingest .*?)`", message)
    assert command is not None
    assert exit_code(*shlex.split(command[1]), "--log-format", "quiet") == 0
    assert exit_code("plan", "--source", folder.path / "out/linked.zarr", "--out", folder.path / "out") == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("masks", True),
        ("masks/*.png", True),
        ("labels.npy", True),
        ("coco.json", True),
        ("list.txt", True),
        ("s3://lake/masks/*.png", True),
        ("s3://lake/masks", False),
        ("street.zarr", False),
        ("group.zarr/labels", False),
        ("missing", False),
        ("annotations.zip", True),
        ("masks.zip", False),
        ("damaged.zip", False),
        (["a", "b"], False),
    ],
)
def test_value_that_names_files_is_recognized(
    name: Any, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("masks").mkdir()
    for archive, member in (("annotations.zip", "annotations.xml"), ("masks.zip", "masks/zarr.json")):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(member, "")
    Path("damaged.zip").touch()
    for place in ("street.zarr", "group.zarr/labels"):
        Path(place).mkdir(parents=True)
        Path(place, "zarr.json").touch()
    assert are_files(name) is expected
