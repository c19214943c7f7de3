"""`masksift ingest` end to end: written arrays, resumption, unmatched files, refusals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.prepare.writers import base
from prepare.ingest.helpers import (
    NAMES,
    InputFiles,
    assert_ingest_fails,
    fail_at_fourth_image,
    ingest,
    read_by_id,
    read_record,
    read_source,
    save_image,
)
from support.cli import error_message, exit_code, run_cli
from support.datasets import DTYPES, Data
from support.errors import assert_sentences
from support.results import read_files, read_rows
from support.run_processes import locked_by_another_process
from support.sources import make_data, write_source


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    return InputFiles(tmp_path)


@pytest.fixture
def two_images_per_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SHARD_BYTES", 2 * 4 * 8 * 10 * 4)


# ------------------------------------------------------------------------------------------------- written arrays


@pytest.mark.parametrize("dtype", DTYPES)
def test_ingest_of_any_dtype_writes_the_same_arrays(tmp_path: Path, dtype: str) -> None:
    inputs = InputFiles(tmp_path, make_data(images=5, dtype=dtype))
    assert ingest(inputs, "--classes", ",".join(NAMES)) == 0
    arrays, attributes = read_source(inputs.out), zarr.open_group(inputs.out, mode="r").attrs
    np.testing.assert_array_equal(arrays["predictions"], inputs.data.predictions)
    assert arrays["predictions"].dtype == dtype
    np.testing.assert_array_equal(arrays["labels"], inputs.data.labels)
    assert arrays["image_id"].tolist() == inputs.names
    assert attributes["class_names"] == list(NAMES)
    assert (attributes["ignore"], attributes["kind"]) == ([255], "probabilities")


def test_run_on_an_ingested_source_equals_run_on_the_arrays(inputs: InputFiles, tmp_path: Path) -> None:
    write_source(tmp_path / "arrays.zarr", inputs.data, ids=inputs.names)
    assert ingest(inputs) == 0
    scored = []
    for source in ("arrays.zarr", "new.zarr"):
        assert run_cli("run", "--source", tmp_path / source, "--out", tmp_path / f"run-{source}") == 0
        scored.append([{**row, "source": ""} for row in read_rows(tmp_path / f"run-{source}")])
    assert [row["image_id"] for row in scored[1]] == inputs.names
    assert scored[0] == scored[1]


def test_ingest_prints_a_summary(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(inputs) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "5 images of 8 x 10, 4 classes, float32 probabilities",
        "labels and predictions: by path",
        f"source: {inputs.out}",
    ]
    assert printed.err == ""


def test_ingest_reads_options_from_toml(inputs: InputFiles, tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text(
        f'labels = "{inputs.labels}"\npredictions = "{inputs.predictions}"\nout = "{inputs.out}"\n'
        'ignore = [255]\n[executor]\nkind = "serial"\n'
    )
    assert exit_code("ingest", tmp_path / "ingest.toml", "--log-format", "quiet") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["labels"], inputs.data.labels)


def test_ingest_accepts_globs(inputs: InputFiles) -> None:
    inputs.labels = inputs.labels / "scene_0[12].png"
    inputs.predictions = inputs.predictions / "*_0[12].npy"
    assert ingest(inputs) == 0
    assert read_source(inputs.out)["image_id"].tolist() == ["scene_01", "scene_02"]


def test_ingest_copies_rgb_images(inputs: InputFiles, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)
    for name, image in zip(inputs.names, images, strict=True):
        save_image(tmp_path / "images" / f"{name}.png", image)
    assert ingest(inputs, "--images", tmp_path / "images") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["images"], images)


@pytest.mark.parametrize(("dtype", "step"), [("uint8", 1 / 255), ("uint16", 1 / 65535)])
def test_ingest_to_integers_rounds_to_steps(inputs: InputFiles, dtype: str, step: float) -> None:
    assert ingest(inputs, "--dtype", dtype) == 0
    stored = read_source(inputs.out)["predictions"]
    assert stored.dtype == dtype
    assert np.abs(stored * step - inputs.data.predictions).max() <= step / 2 + 1e-6


def test_ingest_to_float16_rounds_as_numpy_does(inputs: InputFiles) -> None:
    assert ingest(inputs, "--dtype", "float16") == 0
    expected = inputs.data.predictions.astype(np.float16)
    np.testing.assert_array_equal(read_source(inputs.out)["predictions"], expected)


def test_ingest_with_a_color_table_reads_its_colors_and_refuses_others(
    inputs: InputFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colors = np.random.default_rng(4).permutation(256)[:12].reshape(4, 3).astype(np.uint8)
    lines = [f"{name},{','.join(map(str, color))}" for name, color in zip(NAMES, colors.tolist(), strict=True)]
    (tmp_path / "colors.csv").write_text("\n".join(["name,r,g,b", *lines, "ignore,0,0,0"]))
    palette = np.zeros((256, 3), np.uint8)
    palette[:4] = colors
    for name, label in zip(inputs.names, inputs.data.labels, strict=True):
        save_image(inputs.labels / f"{name}.png", palette[label])
    args = inputs.args("--colors", tmp_path / "colors.csv")
    assert run_cli("ingest", *args) == 0
    np.testing.assert_array_equal(read_source(inputs.out)["labels"], inputs.data.labels)
    assert zarr.open_group(inputs.out, mode="r").attrs["class_names"] == list(NAMES)

    table = (tmp_path / "colors.csv").read_text()
    (tmp_path / "colors.csv").write_text(table.replace("road", "street"))
    assert_ingest_fails(r"new\.zarr", capsys, *args)
    (tmp_path / "colors.csv").write_text(table)

    shutil.rmtree(inputs.out)
    image = palette[inputs.data.labels[3]]
    image[7, 9] = (1, 2, 3)
    save_image(inputs.labels / "scene_03.png", image)
    message = r"labels/scene_03.png holds the color \(1, 2, 3\) at row 7, column 9 \(pixels: 1\)"
    assert_ingest_fails(message, capsys, *args)


# ------------------------------------------------------------------------------------------------------ resumption


@pytest.mark.usefixtures("two_images_per_shard")
def test_failed_ingest_resumes_and_writes_the_same_bytes(
    inputs: InputFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(inputs) == 0
    expected = read_files(inputs.out)
    inputs.out, written = tmp_path / "again.zarr", fail_at_fourth_image(monkeypatch)
    capsys.readouterr()
    assert ingest(inputs) == 5
    assert "disk full" in error_message(capsys)
    assert ingest(inputs) == 0
    assert written == [*inputs.names[:4], *inputs.names[2:]], "the first shard is not written again"
    assert read_files(inputs.out) == expected


KILLED_INGEST = """
import os, signal, sys, zarr
from masksift.cli import main as cli
from masksift.prepare.writers import base

base.SHARD_BYTES = 1
write, writes = zarr.Array.__setitem__, []


def kill_at_ninth(*args):
    writes.append(args)
    if len(writes) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*args)


zarr.Array.__setitem__ = kill_at_ninth
cli.main(sys.argv[1:])
"""


def test_ingest_killed_within_a_shard_resumes_and_writes_the_same_bytes(
    inputs: InputFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard is written as ids, predictions and labels: the process dies before the labels of the third."""
    monkeypatch.setattr(base, "SHARD_BYTES", 1)
    assert ingest(inputs) == 0
    expected = read_files(inputs.out)
    shutil.rmtree(inputs.out)
    args = map(str, inputs.args("--executor.kind", "serial", "--log-format", "quiet"))
    process = subprocess.run([sys.executable, "-c", KILLED_INGEST, "ingest", *args], stdout=subprocess.DEVNULL)
    assert process.returncode == -signal.SIGKILL
    assert len(list((inputs.out / "predictions/c").iterdir())) == 3
    assert len(list((inputs.out / "labels/c").iterdir())) == 2
    assert ingest(inputs) == 0
    assert read_files(inputs.out) == expected


def test_complete_ingest_changes_nothing(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(inputs) == 0
    before = {path: path.stat().st_mtime_ns for path in inputs.out.rglob("*")}
    capsys.readouterr()
    assert exit_code("ingest", *inputs.args("--executor.kind", "serial")) == 0
    assert f"{inputs.out} is complete already: nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in inputs.out.rglob("*")} == before


@pytest.mark.usefixtures("two_images_per_shard")
def test_executors_write_the_same_bytes(inputs: InputFiles, tmp_path: Path, scheduler_address: str) -> None:
    outputs = []
    for flags in (("--executor.kind", "serial"), ("--executor.kind", "dask", "--executor.address", scheduler_address)):
        inputs.out = tmp_path / flags[1]
        assert exit_code("ingest", *inputs.args("--pad", "--log-format", "quiet", *flags)) == 0
        outputs.append(read_files(inputs.out))
    assert "labels/c/2/0/0" in outputs[0]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--remap", "0:1,1:0,2:2,3:3"), r"remap\.0 was not set, is 1"),
        (("--kind", "logits"), r'kind was "probabilities", is "logits"'),
        (("--pad",), "pad was false, is true"),
    ],
)
def test_ingest_with_other_options_into_the_same_output_is_refused(
    inputs: InputFiles, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(inputs) == 0
    before = read_files(inputs.out)
    assert_ingest_fails(message, capsys, *inputs.args(*more))
    assert read_files(inputs.out) == before


def test_ingest_of_other_files_into_the_same_output_is_refused(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(inputs) == 0
    os.rename(inputs.labels / "scene_04.png", inputs.labels / "scene_05.png")
    os.rename(inputs.predictions / "scene_04.npy", inputs.predictions / "scene_05.npy")
    assert_ingest_fails(r"\(files was", capsys, *inputs.args())


def test_ingest_into_a_directory_with_other_files_is_refused(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs.out.mkdir()
    (inputs.out / "thesis.tex").write_text("mine")
    assert_ingest_fails(r"\(thesis.tex\)", capsys, *inputs.args())
    assert read_files(inputs.out) == {"thesis.tex": b"mine"}


# ------------------------------------------------------------------------------------------------- unmatched files


def test_ingest_with_unmatched_files_lists_them_and_exits_with_3(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs.labels / "scene_01.png").unlink()
    for name in ("scene_03.npy", "scene_04.npy"):
        (inputs.predictions / name).unlink()
    assert ingest(inputs) == 3
    printed = capsys.readouterr()
    assert "unmatched: 2 labels (scene_03.png, scene_04.png)" in printed.out
    assert "unmatched: 1 predictions (scene_01.npy)" in printed.out
    assert f"complete list: {inputs.out}/ingest/zarr.json" in printed.out
    assert "3 files" in printed.err
    assert_sentences(printed.err.removeprefix("masksift: ").strip())
    assert read_record(inputs.out)["unmatched"] == {
        "labels": ["scene_03.png", "scene_04.png"],
        "predictions": ["scene_01.npy"],
    }
    assert list(read_by_id(inputs.out)) == ["scene_00", "scene_02"]
    assert ingest(inputs) == 3, "also when everything is written already"


def test_record_is_a_zarr_group(inputs: InputFiles) -> None:
    assert ingest(inputs) == 0
    group = zarr.open_group(inputs.out, mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["image_id", "labels", "predictions"]
    assert group["ingest"].attrs["complete"] is True
    assert sorted(group) == ["image_id", "ingest", "labels", "origin", "predictions"]


def test_missing_rgb_image_is_black_and_recorded(inputs: InputFiles, tmp_path: Path) -> None:
    for name in inputs.names[1:]:
        save_image(tmp_path / "images" / f"{name}.png", np.full((8, 10, 3), 7, np.uint8))
    assert ingest(inputs, "--images", tmp_path / "images") == 3
    assert read_source(inputs.out)["images"].reshape(5, -1).max(axis=1).tolist() == [0, 7, 7, 7, 7]
    assert read_record(inputs.out)["unmatched"] == {"labels without an image": ["scene_00.png"]}


# -------------------------------------------------------------------------------------------------------- refusals

PLACES = ("--labels", "l", "--predictions", "p", "--out", "o")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), ".*--labels URL"),
        (("--lables", "a"), r"'?--lables'?.*Did you mean --labels\?"),
        (("--source", "a"), r"'?--source'?"),
        (("nowhere.toml",), r"Cannot read nowhere.toml .*--labels and --predictions"),
        ((*PLACES, "--preset", "nyu"), "'nyu'"),
        ((*PLACES, "--axes", "x,y,class"), "axes is x,y,class"),
        ((*PLACES, "--kind", "logits", "--dtype", "uint8"), "kind is 'logits' and dtype is 'uint8'"),
        (("--labels", "nowhere", "--predictions", "p", "--out", "o"), ".png, .tif, .tiff, .npy, .* at nowhere"),
    ],
)
def test_ingest_with_invalid_arguments_exits_with_2_and_writes_nothing(
    args: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("ingest", *args) == 2
    assert re.search(message, error_message(capsys))
    assert list(tmp_path.iterdir()) == []


def test_workers_with_too_little_memory_are_refused_before_anything_is_written(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    args = inputs.args("--log-format", "quiet", "--executor.kind", "serial", "--executor.memory")
    assert exit_code("ingest", *args, "64 MiB") == 4
    message = error_message(capsys)
    assert re.search(r"needs 256\.\d MiB per worker, and this process has 64\.0 MiB", message), message
    assert not inputs.out.exists()
    assert exit_code("ingest", *args, "1 GiB") == 0


def test_unknown_value_in_the_first_image_is_refused_before_anything_is_written(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"scene_00.png holds the value 255 at row \d+, column \d+ \(pixels: \d+\).* --ignore 255"
    assert_ingest_fails(message, capsys, *inputs.args()[:-2])
    assert not inputs.out.exists()


def test_unknown_value_in_a_later_image_fails_and_the_corrected_ingest_resumes(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    label = inputs.data.labels[3].copy()
    label[2, 5:7] = 77
    save_image(inputs.labels / "scene_03.png", label)
    message = r"labels/scene_03.png holds the value 77 at row 2, column 5 \(pixels: 2\).* --ignore 77"
    assert_ingest_fails(message, capsys, *inputs.args())
    save_image(inputs.labels / "scene_03.png", inputs.data.labels[3])
    assert ingest(inputs) == 0


def test_logits_require_kind_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=3)
    inputs = InputFiles(tmp_path, Data(np.log(data.predictions + np.float32(1e-6)), data.labels, data.ignore))
    message = r"redictions of .*scene_00.npy range from -\d+.* to .*Pass --kind logits"
    assert_ingest_fails(message, capsys, *inputs.args())
    message = r"range from -\d.*uint8 can only hold values from 0 to 1"
    assert_ingest_fails(message, capsys, *inputs.args("--dtype", "uint8"))
    assert ingest(inputs, "--kind", "logits") == 0
    assert zarr.open_group(inputs.out, mode="r").attrs["kind"] == "logits"


def test_integer_predictions_keep_their_dtype_and_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = InputFiles(tmp_path, make_data(images=3, dtype="uint8"))
    message = "dtype is 'float16', but predictions are stored as uint8.* Drop --dtype"
    assert_ingest_fails(message, capsys, *inputs.args("--dtype", "float16"))
    assert ingest(inputs, "--scale", 0.0039) == 0
    assert zarr.open_group(inputs.out, mode="r").attrs["scale"] == 0.0039


def test_ingest_while_another_process_holds_the_lock_is_refused(
    inputs: InputFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_by_another_process(inputs.out, "ingest/running.json"):
        before = read_files(inputs.out)
        assert run_cli("ingest", *inputs.args()) == 2
        assert "is in use by another run (process " in error_message(capsys)
        assert read_files(inputs.out) == before
    assert run_cli("ingest", *inputs.args()) == 0
    assert not (inputs.out / "ingest/running.json").exists()


@pytest.mark.parametrize("flags", [("--label_offset", 1), ("--reduce-zero-label",)])
def test_labels_from_1_become_class_numbers(tmp_path: Path, flags: tuple[object, ...]) -> None:
    data = make_data(images=2)
    shifted = np.where(data.labels == 255, 0, data.labels + 1).astype(np.uint8)
    inputs = InputFiles(tmp_path, data._replace(labels=shifted))
    assert ingest(inputs, *flags) == 0
    np.testing.assert_array_equal(read_source(inputs.out)["labels"], data.labels)


def test_offset_besides_other_meanings_of_label_values_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = InputFiles(tmp_path)
    message = r"label_offset is 1, but remap is set, too"
    assert_ingest_fails(message, capsys, *inputs.args("--label_offset", 1, "--remap", "1:0"))
    (tmp_path / "colors.csv").write_text("a,1,2,3\nb,4,5,6\nc,7,8,9\nd,0,0,0\n")
    message = r"label_offset is 1, but a preset, colors or segments define the classes"
    assert_ingest_fails(message, capsys, *inputs.args("--label_offset", 1, "--colors", tmp_path / "colors.csv"))
