"""Parquet tables: their schemas, the class names in their metadata, and the same bytes for the same table."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.scoring.methods import METHODS
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import column, floats, integer_lists, table_from_rows
from masksift.storage.tables.parquet import iter_tables, read_table, write_table
from masksift.storage.tables.schemas import (
    CLASS_PAIRS,
    CLASS_QUALITY,
    THRESHOLDS,
    found_schema,
    images_schema,
    ranking_schema,
    regions_schema,
    truth_schema,
)
from support.cli import run_cli
from support.sources import make_data, write_source

NAMES = ["road", "sky", 'a "quoted", thing', "Straße"]
IMAGE = {
    "image_id": "a/0",
    "source": "a",
    "index": 0,
    "height": 8,
    "width": 10,
    "valid_pixels": 80,
    "status": "scored",
    "ccp": 0.5,
    "flagged_pixels": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path))


def columns(schema: pa.Schema) -> dict[str, str]:
    """Every column with its type; those that may be null end in a question mark."""
    return {field.name: f"{field.type}{'?' if field.nullable else ''}" for field in schema}


# ------------------------------------------------------------------------------------------------------ schemas


def test_the_schema_of_every_table() -> None:
    assert columns(THRESHOLDS) == {
        "class_id": "int32",
        "class_name": "string",
        "pixels": "int64",
        "sum": "double",
        "confident_threshold": "double?",
        "decision_threshold": "double?",
        "ignored_share": "double",
    }
    assert columns(CLASS_PAIRS) == {
        "given": "int32",
        "suggested": "int32",
        "given_name": "string",
        "suggested_name": "string",
        "pixels": "int64",
        "images": "int64",
    }
    assert columns(CLASS_QUALITY) == {
        "class_id": "int32",
        "class_name": "string",
        "pixels": "int64",
        "flagged": "int64",
        "quality": "double?",
    }
    worst_region = {
        "region_y0": "int32?",
        "region_x0": "int32?",
        "region_y1": "int32?",
        "region_x1": "int32?",
        "region_evidence": "double?",
    }
    assert columns(images_schema(["ccp", "clc"])) == {
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "height": "int32",
        "width": "int32",
        "valid_pixels": "int64?",
        "status": "string",
        "reason": "string?",
        "ccp": "double?",
        "clc": "double?",
        "flagged_pixels": "int64?",
        "worst_given": "int32?",
        "worst_suggested": "int32?",
        "worst_pixels": "int64?",
        **worst_region,
    }
    assert columns(ranking_schema(["ccp"])) == {
        "rank": "int64",
        "percentile": "double",
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "ranked_by": "string",
        "score": "double",
        "ccp": "double?",
        **worst_region,
    }
    assert columns(regions_schema(["site"])) == {
        "rank": "int64",
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "site": "string?",
        "kind": "string",
        "given": "int32?",
        "suggested": "int32",
        "given_name": "string?",
        "suggested_name": "string",
        "area": "int64",
        "y0": "int32",
        "x0": "int32",
        "y1": "int32",
        "x1": "int32",
        "centroid_y": "double",
        "centroid_x": "double",
        "evidence": "double",
        "mean_self_confidence": "double?",
        "mean_predicted_confidence": "double",
        "height": "int32",
        "width": "int32",
        "rle": "list<item: int32>",
    }
    assert found_schema(["site"]).names == regions_schema(["site"]).names[1:]
    assert columns(truth_schema(["site"])) == {
        "image_id": "string",
        "source": "string",
        "index": "int64",
        "site": "string?",
        "kind": "string",
        "classes": "list<item: int32>",
        "given": "int32?",
        "true": "int32?",
        "changed_pixels": "int64",
        "changed_share": "double",
        "y0": "int32",
        "x0": "int32",
        "y1": "int32",
        "x1": "int32",
    }


def test_the_tables_of_a_run_have_these_schemas_and_the_class_names(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), attributes={"class_names": NAMES, "ignore": [255]})
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    expected = {
        "thresholds.parquet": THRESHOLDS,
        "class_pairs.parquet": CLASS_PAIRS,
        "class_quality.parquet": CLASS_QUALITY,
        "images/*.parquet": images_schema(list(METHODS)),
        "ranking/*.parquet": ranking_schema(list(METHODS)),
        "regions/*.parquet": regions_schema(),
    }
    for pattern, schema in expected.items():
        (file,) = (tmp_path / "out").glob(pattern)
        found = pq.read_schema(file)
        assert found.remove_metadata() == schema
        assert json.loads(found.metadata[b"masksift"]) == {"class_names": NAMES}
    folders = [pq.read_table(tmp_path / "out" / name) for name in ("images", "ranking")]
    assert [len(table) for table in folders] == [8, 8]


# ----------------------------------------------------------------------------------------------------- writing


@given(rows=st.lists(st.tuples(st.text(max_size=5), st.floats(0, 1) | st.none()), max_size=20))
@settings(max_examples=25, deadline=None)
def test_a_table_comes_back_and_the_same_table_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float | None]]
) -> None:
    folder = ObjectDirectory(str(tmp_path_factory.mktemp("tables")))
    facts = [IMAGE | {"image_id": name, "index": i, "ccp": score} for i, (name, score) in enumerate(rows)]
    table = table_from_rows(facts, images_schema(["ccp"]))
    sizes = {write_table(folder, name, table, NAMES) for name in ("a.parquet", "b.parquet")}
    data = folder.read("a.parquet")
    assert data is not None
    assert data == folder.read("b.parquet")
    assert sizes == {len(data)}
    assert read_table(folder, "a.parquet").replace_schema_metadata(None) == table


def test_a_table_is_compressed_and_has_statistics(folder: ObjectDirectory) -> None:
    write_table(folder, "a.parquet", table_from_rows([IMAGE], images_schema(["ccp"])), NAMES)
    group = pq.ParquetFile(Path(folder.url) / "a.parquet").metadata.row_group(0)
    for i in range(group.num_columns):
        assert group.column(i).compression == "ZSTD"
        assert group.column(i).statistics is not None


def test_a_schemas_own_metadata_stay(folder: ObjectDirectory) -> None:
    write_table(folder, "a.parquet", pa.table({"x": [1]}).replace_schema_metadata({"mine": "1"}), NAMES)
    assert read_table(folder, "a.parquet").schema.metadata[b"mine"] == b"1"


@pytest.mark.parametrize("missing", ["image_id", "index", "status"])
def test_a_row_without_what_every_row_has_is_refused(missing: str) -> None:
    row = {name: value for name, value in IMAGE.items() if name != missing}
    with pytest.raises(ValueError, match=f"1 of 2 rows have no '{missing}'"):
        table_from_rows([IMAGE, row], images_schema(["ccp"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("index", "zero"), ("index", 0.5), ("height", 2**40), ("height", 2**70), ("status", 1), ("ccp", "high")],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError, OverflowError), match=r"cannot hold|invalid literal|could not convert|too large"
    ):
        table_from_rows([IMAGE | {name: value}], images_schema(["ccp"]))


KINDS = {
    pa.string(): st.text(max_size=4),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_column_is_what_arrow_makes_of_the_same_values(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(KINDS[kind] | st.none(), max_size=20))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    if kind != pa.string() and None not in values:
        numbers = np.array(values, kind.to_pandas_dtype())
        assert column(numbers, kind).equals(pa.array(numbers, kind))


@given(values=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_column_of_lists_is_what_arrow_makes_of_them(values: list[list[int]]) -> None:
    made = column(values, pa.list_(pa.int32()))
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.list_(pa.int32())))


@given(values=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=20), cuts=st.lists(st.integers(0, 20)))
@settings(max_examples=50, deadline=None)
def test_a_column_of_lists_comes_back_however_it_is_cut(values: list[list[int]], cuts: list[int]) -> None:
    whole, edges = pa.array(values, pa.list_(pa.int32())), [0, *sorted(cuts), len(values)]
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    found = [numbers.tolist() for numbers in integer_lists(pa.chunked_array(chunks, pa.list_(pa.int32())))]
    assert found == [one for chunk in chunks for one in chunk.to_pylist()]


@given(values=st.lists(st.floats(allow_nan=False) | st.none(), max_size=40), cuts=st.lists(st.integers(0, 40)))
@settings(max_examples=50, deadline=None)
def test_a_column_comes_back_as_floats_however_it_is_cut(values: list[float | None], cuts: list[int]) -> None:
    whole, edges = pa.array(values, pa.float64()), [0, *sorted(cuts), len(values)]
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    wanted = np.array([np.nan if value is None else value for value in values], np.float64)
    np.testing.assert_array_equal(floats(pa.chunked_array(chunks, pa.float64())), wanted[: sum(map(len, chunks))])


def test_tables_are_made_written_and_read_without_pandas(tmp_path: Path) -> None:
    """Where it is installed its import would cost each worker a second."""
    code = (
        "import sys, pyarrow as pa\n"
        "from masksift.engine.result_tables import ranking\n"
        "from masksift.storage.objects import ObjectDirectory as Folder\n"
        "from masksift.storage.tables.arrow import table_from_rows as table_of\n"
        "from masksift.storage.tables.parquet import read_table, write_table\n"
        "from masksift.storage.tables.schemas import images_schema\n"
        f"table = table_of([{IMAGE!r}], images_schema(['ccp']))\n"
        "folder = Folder(sys.argv[1])\n"
        "write_table(folder, 'a', table, ['x'])\n"
        "ranking(read_table(folder, 'a'), ['ccp'], 'ccp')\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_tables_are_read_without_threads_that_could_outlive_the_process(tmp_path: Path) -> None:
    """A thread of Arrow's own that lets go of Python's memory last, while Python ends, aborts the process: seen in one
    process of seventy that read one small table."""
    table = table_from_rows([IMAGE], images_schema(["ccp"]))
    write_table(ObjectDirectory(str(tmp_path)), "a.parquet", table, ["x"])
    code = (
        "import os, sys\n"
        "from masksift.storage.tables.image_lists import _of_parquet\n"
        "from masksift.storage.objects import ObjectDirectory as Folder\n"
        "from masksift.storage.tables.parquet import read_table\n"
        "folder = Folder(sys.argv[1])\n"
        "parquet = folder.read('a.parquet')\n"
        "before = os.listdir('/proc/self/task')\n"
        "assert read_table(folder, 'a.parquet').num_rows == 1\n"
        "assert _of_parquet(parquet, 'image_id').num_rows == 1\n"
        "assert os.listdir('/proc/self/task') == before"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# ----------------------------------------------------------------------------------------------------- reading


def test_a_table_that_is_not_there_is_named(folder: ObjectDirectory) -> None:
    with pytest.raises(FileNotFoundError, match=r"ranking/part-000000\.parquet"):
        read_table(folder, "ranking/part-000000.parquet")


def test_parts_are_read_in_the_order_they_are_named_and_columns_as_asked(folder: ObjectDirectory) -> None:
    schema = images_schema(["ccp"])
    for i in range(3):
        write_table(folder, f"images/{i}", table_from_rows([IMAGE | {"index": i}], schema), NAMES)
    found = pa.concat_tables(iter_tables(folder, ["images/2", "images/0"], ["index", "ccp"]))
    assert found.to_pydict() == {"index": [2, 0], "ccp": [0.5, 0.5]}
