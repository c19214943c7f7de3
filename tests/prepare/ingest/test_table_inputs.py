"""Data sets that Hugging Face's `datasets` saved: images and labels in the cells of Parquet and Arrow files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from masksift.storage import table_images
from prepare.ingest.helpers import assert_ingest_fails, read_source
from prepare.predict.helpers import make_images
from support.cli import exit_code, run_cli
from support.datasets import Array

IMAGES = 5
QUIET = ("--executor", "serial", "--log-format", "quiet")


@pytest.fixture(scope="module")
def pixels() -> tuple[Array, Array]:
    """RGB images (5, 16, 20, 3), and labels of classes 0 to 2 and 255 for none."""
    rgb, labels = make_images(images=IMAGES)
    return rgb, labels.astype(np.uint8)


def encode(array: Array, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    return buffer.getvalue()


def cells(arrays: Array, names: Sequence[str | None], form: str = "PNG") -> pa.Array:
    rows = [{"bytes": encode(one, form), "path": name} for one, name in zip(arrays, names, strict=True)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def make_table(pixels: tuple[Array, Array], names: Sequence[str | None], **columns: Any) -> pa.Table:
    rgb, labels = pixels
    return pa.table({"image": cells(rgb, names), "label": cells(labels, [None] * len(names)), **columns})


def ingest(directory: Path, *args: object) -> dict[str, Array]:
    """Ingest images and labels of the tables in a directory, and return the arrays of the source."""
    out = directory.parent / "new.zarr"
    where = ("--labels", directory, "--images", directory, "--out", out)
    assert exit_code("ingest", *where, "--classes", "a,b,c", "--ignore", 255, *args, *QUIET) == 0
    return read_source(out)


def assert_equal(source: dict[str, Array], pixels: tuple[Array, Array], ids: Sequence[str]) -> None:
    order = [ids.index(name) for name in source["image_id"].tolist()]
    np.testing.assert_array_equal(source["images"], pixels[0][order])
    np.testing.assert_array_equal(source["labels"], pixels[1][order])
    assert sorted(order) == list(range(IMAGES))


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_parquet_is_read_in_row_groups_of_any_size(rows: int, pixels: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = [f"scene_{i}.jpg" for i in range(IMAGES)]
    pq.write_table(make_table(pixels, names), tmp_path / "data/train-00000.parquet", row_group_size=rows)
    assert_equal(ingest(tmp_path / "data"), pixels, [name.removesuffix(".jpg") for name in names])


def test_ids_come_from_a_column_of_ids(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ids = [f"street/{i}" for i in range(IMAGES)]
    pq.write_table(make_table(pixels, [None] * IMAGES, image_id=ids), tmp_path / "data/a.parquet")
    assert_equal(ingest(tmp_path / "data"), pixels, ids)


def test_rows_without_names_are_numbered_by_file(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = make_table(pixels, [None] * IMAGES)
    pq.write_table(table.slice(0, 2), tmp_path / "data/a.parquet")
    pq.write_table(table.slice(2), tmp_path / "data/b.parquet")
    assert_equal(ingest(tmp_path / "data"), pixels, ["a/0", "a/1", "b/0", "b/1", "b/2"])


def test_equal_ids_in_two_splits_follow_their_file(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = make_table(pixels, [None] * IMAGES, id=[0, 1, 0, 1, 2])
    pq.write_table(table.slice(0, 2), tmp_path / "data/test.parquet")
    pq.write_table(table.slice(2), tmp_path / "data/train.parquet")
    assert_equal(ingest(tmp_path / "data"), pixels, ["test/0", "test/1", "train/0", "train/1", "train/2"])


def test_tables_match_predictions_by_id(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "softmax").mkdir()
    pq.write_table(make_table(pixels, [f"{i}.png" for i in range(IMAGES)]), tmp_path / "data/a.parquet")
    for i, plane in enumerate(pixels[1]):
        np.save(tmp_path / f"softmax/{i}.npy", (plane == np.arange(3).reshape(3, 1, 1)).astype(np.float32))
    source = ingest(tmp_path / "data", "--predictions", tmp_path / "softmax")
    assert_equal(source, pixels, [str(i) for i in range(IMAGES)])
    np.testing.assert_array_equal(source["predictions"].argmax(1)[pixels[1] < 3], pixels[1][pixels[1] < 3])


def test_saved_data_set_is_read_as_datasets_writes_it(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rgb, labels = pixels
    content = {
        "image": [Image.fromarray(one) for one in rgb],
        "annotation": [Image.fromarray(one) for one in labels],
        "id": [f"s{i}" for i in range(IMAGES)],
    }
    features = {"image": datasets.Image(), "annotation": datasets.Image(), "id": datasets.Value("string")}
    saved = datasets.Dataset.from_dict(content, features=datasets.Features(features))
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "arrow/data")
    (tmp_path / "parquet/data").mkdir(parents=True)
    saved.to_parquet(tmp_path / "parquet/data/train.parquet")
    for form in ("arrow", "parquet"):
        assert_equal(ingest(tmp_path / form / "data"), pixels, content["id"])


def test_quickstart_takes_class_names_of_id2label(
    pixels: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    pq.write_table(make_table(pixels, [f"{i}.png" for i in range(IMAGES)]), tmp_path / "data/a.parquet")
    (tmp_path / "data/id2label.json").write_text(json.dumps({"0": "sky", "1": "road", "2": "tree"}))
    assert exit_code("quickstart", "--images", "data", "--labels", "data", "--executor", "serial") == 0
    assert "--classes sky,road,tree" in (printed := capsys.readouterr()).out + printed.err


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("image", "seg"), "image columns image, seg, none of which is called label or labels"),
        (("label", "x"), "image columns label, x, none of which is called image or images"),
    ],
)
def test_table_without_a_usual_column_is_refused(
    names: tuple[str, str],
    match: str,
    pixels: tuple[Array, Array],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").mkdir()
    table = make_table(pixels, [None] * IMAGES).rename_columns(list(names))
    pq.write_table(table, tmp_path / "data/a.parquet")
    where = ("--labels", tmp_path / "data", "--images", tmp_path / "data", "--out", tmp_path / "new.zarr")
    assert_ingest_fails(match, capsys, *where, "--classes", "a,b,c")


def test_cell_without_bytes_is_refused(
    pixels: tuple[Array, Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    rows = [{"bytes": None, "path": f"{i}.png"} for i in range(IMAGES)]
    empty = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": cells(pixels[0], [None] * IMAGES), "label": empty})
    pq.write_table(table, tmp_path / "data/a.parquet")
    where = ("--labels", tmp_path / "data", "--images", tmp_path / "data", "--out", tmp_path / "new.zarr")
    assert_ingest_fails("a.parquet#label/0 holds no encoded image", capsys, *where, "--classes", "a,b,c")


def test_labels_compressed_with_loss_are_refused(
    pixels: tuple[Array, Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    columns = {"image": cells(pixels[0], [None] * IMAGES), "label": cells(pixels[1], [None] * IMAGES, "JPEG")}
    pq.write_table(pa.table(columns), tmp_path / "data/a.parquet")
    where = ("--labels", tmp_path / "data", "--images", tmp_path / "data", "--out", tmp_path / "new.zarr")
    assert_ingest_fails("a.parquet#label/0 is compressed as JPEG", capsys, *where, "--classes", "a,b,c")


def test_damaged_table_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.parquet").write_bytes(b"PAR1 damaged PAR1")
    where = ("--labels", tmp_path / "data", "--images", tmp_path / "data", "--out", tmp_path / "new.zarr")
    assert_ingest_fails("a.parquet cannot be read as a table", capsys, *where, "--classes", "a,b,c")


def test_tables_without_images_are_passed_over(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    """An image folder of `datasets` may hold a table of other columns."""
    for i in range(IMAGES):
        for name, plane in (("masks", pixels[1][i]), ("images", pixels[0][i])):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.png").write_bytes(encode(plane))
    pq.write_table(pa.table({"file_name": ["0.png"]}), tmp_path / "masks/metadata.parquet")
    where = ("--labels", tmp_path / "masks", "--images", tmp_path / "images", "--out", tmp_path / "new.zarr")
    assert run_cli("ingest", *where, "--classes", "a,b,c", "--ignore", 255) == 0


def test_row_group_is_read_once_for_neighboring_cells(pixels: tuple[Array, Array], tmp_path: Path) -> None:
    pq.write_table(make_table(pixels, [None] * IMAGES), tmp_path / "a.parquet", row_group_size=2)
    table_images._read_column.cache_clear()
    for row in range(IMAGES):
        data = table_images.open_cell(f"{tmp_path}/a.parquet#label/{row}", {}).read()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels[1][row])
    assert table_images._read_column.cache_info().misses == 3
