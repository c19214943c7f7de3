"""`masksift ingest` as a whole: what comes out is what was drawn, twice equals once, and a run reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.prepare.ingest import tasks as shards
from masksift.prepare.writers import base as writers
from prepare.ingest.helpers import NAMES, Folder, arrays, ingest, named, record, refused, save_image
from support.datasets import Data
from support.sources import complaint, contents, masksift, plain, reads_well, rows, typed, write_source

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images a shard."""
    monkeypatch.setattr(writers, "SHARD_BYTES", 2 * 4 * 8 * 10 * 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_and_predictions_come_through_as_they_are(tmp_path: Path, dtype: str) -> None:
    folder = Folder(tmp_path, plain(images=5, dtype=dtype))
    assert ingest(folder, "--classes", ",".join(NAMES)) == 0
    found, attributes = arrays(folder.out), zarr.open_group(folder.out, mode="r").attrs
    np.testing.assert_array_equal(found["predictions"], folder.data.predictions)
    assert found["predictions"].dtype == dtype
    np.testing.assert_array_equal(found["labels"], folder.data.labels)
    assert found["image_id"].tolist() == folder.names
    assert attributes["class_names"] == list(NAMES)
    assert (attributes["ignore"], attributes["kind"]) == ([255], "probabilities")


def test_a_run_on_an_ingested_source_is_a_run_on_the_arrays(folder: Folder, tmp_path: Path) -> None:
    write_source(tmp_path / "arrays.zarr", folder.data, ids=folder.names)
    assert ingest(folder) == 0
    for source in ("arrays.zarr", "new.zarr"):
        assert masksift("run", "--source", tmp_path / source, "--out", tmp_path / f"of-{source}") == 0
    scored = [rows(tmp_path / f"of-{source}") for source in ("arrays.zarr", "new.zarr")]
    assert [row["image_id"] for row in scored[1]] == folder.names
    assert [{**row, "source": ""} for row in scored[0]] == [{**row, "source": ""} for row in scored[1]]


def test_the_end_says_what_there_is_now(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(folder) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "5 images of 8 x 10, 4 classes, float32 probabilities",
        "labels and predictions: by path",
        f"source: {folder.out}",
    ]
    assert printed.err == ""


def test_every_key_may_stand_in_a_file(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text(
        f'labels = "{folder.labels}"\npredictions = "{folder.predictions}"\nout = "{tmp_path / "told.zarr"}"\n'
        'ignore = [255]\n[executor]\nkind = "serial"\n'
    )
    assert typed("ingest", tmp_path / "ingest.toml", "--log-format", "quiet") == 0
    assert ingest(folder) == 0
    assert arrays(tmp_path / "told.zarr").keys() == arrays(folder.out).keys()


def test_places_may_be_globs(folder: Folder) -> None:
    folder.labels = folder.labels / "scene_0[12].png"
    folder.predictions = folder.predictions / "*_0[12].npy"
    assert ingest(folder) == 0
    assert arrays(folder.out)["image_id"].tolist() == ["scene_01", "scene_02"]


def test_pictures_are_kept_for_those_who_review(folder: Folder, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)
    for name, picture in zip(folder.names, drawn, strict=True):
        save_image(tmp_path / "pictures" / f"{name}.png", picture)
    assert ingest(folder, "--images", tmp_path / "pictures") == 0
    np.testing.assert_array_equal(arrays(folder.out)["images"], drawn)


def test_floats_are_rounded_where_it_is_asked_for(folder: Folder, tmp_path: Path) -> None:
    exact = folder.data.predictions
    for dtype, step in (("uint8", 1 / 255), ("uint16", 1 / 65535)):
        folder.out = tmp_path / dtype
        assert ingest(folder, "--dtype", dtype) == 0
        kept = arrays(folder.out)["predictions"]
        assert kept.dtype == dtype
        assert np.abs(kept * step - exact).max() <= step / 2 + 1e-6
    folder.out = tmp_path / "float16"
    assert ingest(folder, "--dtype", "float16") == 0
    np.testing.assert_array_equal(arrays(folder.out)["predictions"], exact.astype(np.float16))


def test_colours_of_a_table_and_the_refusal_of_any_other(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = np.random.default_rng(4).permutation(256)[:12].reshape(4, 3).astype(np.uint8)
    rows = [f"{name},{','.join(map(str, colour))}" for name, colour in zip(NAMES, colours.tolist(), strict=True)]
    (tmp_path / "colors.csv").write_text("\n".join(["name,r,g,b", *rows, "ignore,0,0,0"]))
    table = np.zeros((256, 3), np.uint8)
    table[:4] = colours
    for name, label in zip(folder.names, folder.data.labels, strict=True):
        save_image(folder.labels / f"{name}.png", table[label])
    words = folder.words("--colors", tmp_path / "colors.csv")
    assert masksift("ingest", *words) == 0
    np.testing.assert_array_equal(arrays(folder.out)["labels"], folder.data.labels)
    assert zarr.open_group(folder.out, mode="r").attrs["class_names"] == list(NAMES)

    shutil.rmtree(folder.out)
    other = table[folder.data.labels[3]]
    other[7, 9] = (1, 2, 3)
    save_image(folder.labels / "scene_03.png", other)
    refused(r"labels/scene_03.png holds the colour \(1, 2, 3\) at row 7, column 9 \(1 pixels of it\)", capsys, *words)


# ---------------------------------------------------------------------------------------------- twice equals once


def test_what_was_cut_short_goes_on_with_the_same_bytes(
    folder: Folder,
    tmp_path: Path,
    small_shards: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ingest(folder) == 0
    whole = contents(folder.out)
    folder.out, written, write = tmp_path / "again.zarr", [], shards._write

    def fail_at_third(writer: Any, job: Any, pair: Any) -> None:
        written.append(pair.name)
        if len(written) == 4:
            raise OSError("disk full")
        write(writer, job, pair)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "_write", fail_at_third)
        capsys.readouterr()
        assert ingest(folder) == 5
        assert "disk full" in complaint(capsys)
    assert not record(folder.out)["complete"]
    monkeypatch.setattr(shards, "_write", lambda *words: (written.append(words[2].name), write(*words)))
    assert ingest(folder) == 0
    assert written == [*folder.names[:4], *folder.names[2:]], "the first shard is not written again"
    assert contents(folder.out) == whole


def test_a_killed_ingest_goes_on_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = plain(images=60, height=96, width=128)
    folder = Folder(tmp_path, data)
    words = [str(word) for word in folder.words("--ignore", 255, "--executor.kind", "serial", "--log-format", "quiet")]
    small = (
        "from masksift.cli import main as cli; from masksift.prepare.writers import base; base.SHARD_BYTES = 1; "
        f"raise SystemExit(cli.main({['ingest', *words]!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", small], stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 30
        while not (folder.out / "labels/c/5").exists() and time.monotonic() < until:
            time.sleep(0.005)
        process.kill()
    assert 5 < len(list((folder.out / "labels/c").iterdir())) < 60, "killed on the way"
    assert subprocess.run([sys.executable, "-c", small], stdout=subprocess.DEVNULL).returncode == 0
    found = arrays(folder.out)
    np.testing.assert_array_equal(found["predictions"], data.predictions)
    np.testing.assert_array_equal(found["labels"], data.labels)
    again = contents(folder.out)
    shutil.rmtree(folder.out)
    monkeypatch.setattr(writers, "SHARD_BYTES", 1)
    assert ingest(folder) == 0
    assert contents(folder.out) == again


def test_a_complete_ingest_is_not_done_again(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(folder) == 0
    before = {path: path.stat().st_mtime_ns for path in folder.out.rglob("*")}
    capsys.readouterr()
    assert typed("ingest", *folder.words("--ignore", 255, "--executor.kind", "serial")) == 0
    assert f"{folder.out} is complete already: nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.out.rglob("*")} == before


def test_serial_and_local_executors_give_the_same_bytes(folder: Folder, tmp_path: Path, small_shards: None) -> None:
    found = []
    for kind in ("serial", "local"):
        folder.out = tmp_path / kind
        words = folder.words("--ignore", 255, "--pad", "--log-format", "quiet", "--executor.kind", kind)
        assert typed("ingest", *words) == 0
        found.append(contents(folder.out))
    assert "labels/c/2/0/0" in found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--remap", "0:1,1:0,2:2,3:3"), r"remap\.0 was not set, is 1"),
        (("--kind", "logits"), r'kind was "probabilities", is "logits"'),
        (("--pad",), "pad was false, is true"),
    ],
)
def test_an_ingest_of_other_facts_is_refused(
    folder: Folder, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(folder) == 0
    before = contents(folder.out)
    refused(rf"holds results of other inputs or settings \(.*{said}", capsys, *folder.words("--ignore", 255, *more))
    assert contents(folder.out) == before


def test_other_files_are_another_ingest(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(folder) == 0
    os.rename(folder.labels / "scene_04.png", folder.labels / "scene_05.png")
    os.rename(folder.predictions / "scene_04.npy", folder.predictions / "scene_05.npy")
    refused(r"holds results of other inputs or settings \(files was", capsys, *folder.words("--ignore", 255))


def test_an_out_that_holds_something_else_is_left_alone(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.out.mkdir()
    (folder.out / "thesis.tex").write_text("mine")
    refused(r"contains files that are not results of masksift \(thesis.tex\)", capsys, *folder.words("--ignore", 255))
    assert contents(folder.out) == {"thesis.tex": b"mine"}


# -------------------------------------------------------------------------------------------------- what is left out


def test_files_without_a_partner_are_told_and_the_exit_code_is_3(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.labels / "scene_01.png").unlink()
    for name in ("scene_03.npy", "scene_04.npy"):
        (folder.predictions / name).unlink()
    assert ingest(folder) == 3
    printed = capsys.readouterr()
    assert "without a partner: 2 labels (scene_03.png, scene_04.png)" in printed.out
    assert "without a partner: 1 predictions (scene_01.npy)" in printed.out
    assert f"all of them: {folder.out}/ingest/zarr.json" in printed.out
    assert "3 files found no partner; the source holds all others." in printed.err
    reads_well(printed.err.removeprefix("masksift: ").strip())
    assert record(folder.out)["unmatched"] == {
        "labels": ["scene_03.png", "scene_04.png"],
        "predictions": ["scene_01.npy"],
    }
    assert list(named(folder.out)) == ["scene_00", "scene_02"]
    assert ingest(folder) == 3, "also when there is nothing left to do"


def test_the_record_does_not_stand_in_the_way_of_zarr(folder: Folder) -> None:
    assert ingest(folder) == 0
    group = zarr.open_group(folder.out, mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["image_id", "labels", "predictions"]
    assert group["ingest"].attrs["complete"] is True
    assert sorted(name for name, _ in group.members(max_depth=None)) == ["image_id", "ingest", "labels", "predictions"]


def test_a_picture_that_is_missing_is_told_and_black(folder: Folder, tmp_path: Path) -> None:
    for name in folder.names[1:]:
        save_image(tmp_path / "pictures" / f"{name}.png", np.full((8, 10, 3), 7, np.uint8))
    assert ingest(folder, "--images", tmp_path / "pictures") == 3
    assert arrays(folder.out)["images"].reshape(5, -1).max(axis=1).tolist() == [0, 7, 7, 7, 7]
    assert record(folder.out)["unmatched"] == {"labels without a picture": ["scene_00.png"]}


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "'labels' is not given; .*--labels URL"),
        (("--lables", "a"), r"there is no flag '--lables'; .*Did you mean --labels\?"),
        (("--source", "a"), r"there is no flag '--source'"),
        (("nowhere.toml",), r"nowhere.toml cannot be read .*data are named by --labels and --predictions"),
        (("--labels", "l", "--predictions", "p", "--out", "o", "--preset", "kitti"), "preset is 'kitti'"),
        (("--labels", "l", "--predictions", "p", "--out", "o", "--axes", "x,y,class"), "axes is x,y,class; "),
        (
            ("--labels", "l", "--predictions", "p", "--out", "o", "--kind", "logits", "--dtype", "uint8"),
            "kind is 'logits' and dtype is 'uint8'",
        ),
        (("--labels", "nowhere", "--predictions", "p", "--out", "o"), "no file of .png, .tif, .tiff at nowhere"),
    ],
)
def test_what_is_mistyped_ends_in_2_and_writes_nothing(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed("ingest", *words) == 2
    assert re.search(said, complaint(capsys))
    assert list(tmp_path.iterdir()) == []


def test_workers_that_are_too_small_are_refused_before_anything_is_written(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = folder.words("--ignore", 255, "--log-format", "quiet", "--executor.kind", "serial", "--executor.memory")
    assert typed("ingest", *words, "64 MiB") == 4
    said = r"needs 256\.\d MiB a worker, and this process has 64\.0 MiB; .*Give workers of 256\.\d MiB"
    assert re.search(said, complaint(capsys))
    assert not folder.out.exists()
    assert typed("ingest", *words, "1 GiB") == 0


def test_what_the_first_image_shows_is_refused_before_anything_is_written(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(
        r"scene_00.png holds the value 255 at row \d+, column \d+ \(\d+ pixels of it\); .*--ignore 255",
        capsys,
        *folder.words(),
    )
    assert not folder.out.exists()


def test_a_later_image_is_refused_when_its_turn_comes(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    label = folder.data.labels[3].copy()
    label[2, 5:7] = 77
    save_image(folder.labels / "scene_03.png", label)
    refused(
        r"labels/scene_03.png holds the value 77 at row 2, column 5 \(2 pixels of it\); .*--ignore 77",
        capsys,
        *folder.words("--ignore", 255),
    )
    save_image(folder.labels / "scene_03.png", folder.data.labels[3])
    assert ingest(folder) == 0, "mended, it goes on"


def test_logits_have_to_be_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = plain(images=3)
    logits = Data(np.log(data.predictions + np.float32(1e-6)), data.labels, data.ignore)
    folder = Folder(tmp_path, logits)
    refused(
        r"predictions of .*scene_00.npy go from -\d+.* to .*Give --kind logits", capsys, *folder.words("--ignore", 255)
    )
    refused(
        r"go from -\d.*; in uint8 all beyond 0 and 1 would be lost",
        capsys,
        *folder.words("--ignore", 255, "--dtype", "uint8"),
    )
    assert ingest(folder, "--kind", "logits") == 0
    assert zarr.open_group(folder.out, mode="r").attrs["kind"] == "logits"


def test_integers_keep_their_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder(tmp_path, plain(images=3, dtype="uint8"))
    refused(
        "dtype is 'float16', and predictions are uint8; .*Leave --dtype out",
        capsys,
        *folder.words("--dtype", "float16", "--ignore", 255),
    )
    assert ingest(folder, "--scale", 0.0039) == 0
    assert zarr.open_group(folder.out, mode="r").attrs["scale"] == 0.0039
