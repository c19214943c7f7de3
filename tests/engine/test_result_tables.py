"""Ranked table of regions, made from the regions that blocks keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masksift.engine import result_tables as results
from masksift.engine.region_table import region_part_name
from masksift.engine.result_tables import write_regions
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import regions_schema, unranked_regions_schema

FINGERPRINT = "0123456789abcdef"

limited = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_blocks(out: Path, blocks: Sequence[Sequence[float]]) -> ObjectDirectory:
    """Write the regions of blocks of one image each, with the given evidence."""
    directory = ObjectDirectory(str(out))
    for number, evidence in enumerate(blocks):
        rows = [
            {
                "image_id": f"a/{number}",
                "source": "a",
                "index": number,
                "site": "x",
                "kind": "omission",
                "suggested": 0,
                "suggested_name": "road",
                "area": 1,
                "y0": 0,
                "x0": x,
                "y1": 1,
                "x1": x + 1,
                "centroid_y": 0.0,
                "centroid_x": float(x),
                "evidence": value,
                "mean_predicted_confidence": 0.5,
                "height": 1,
                "width": 9,
                "rle": np.array([x, 1, 8 - x], np.int32),
            }
            for x, value in enumerate(evidence)
        ]
        write_table(
            directory,
            region_part_name(FINGERPRINT, number),
            table_from_rows(rows, unranked_regions_schema(("site",))),
            ["road"],
        )
    return directory


VALUES = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0, 1e6))


@limited
@given(
    blocks=st.lists(st.lists(VALUES, max_size=6), min_size=1, max_size=5),
    top=st.integers(1, 12),
    part_rows=st.integers(1, 9),
)
def test_write_regions_ranks_the_regions_of_all_blocks_by_evidence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[float]],
    top: int,
    part_rows: int,
) -> None:
    monkeypatch.setattr(results, "REGION_PART_ROWS", part_rows)
    out = tmp_path_factory.mktemp("out")
    directory = write_blocks(out, blocks)
    written = write_regions(directory, FINGERPRINT, len(blocks), top, ["road"], ("site",))
    every = [(-value, number, x) for number, evidence in enumerate(blocks) for x, value in enumerate(evidence)]
    expected = sorted(every)[:top]
    parts = sorted((out / "regions").iterdir())
    tables = [pq.read_table(part) for part in parts]
    assert [part.name for part in parts] == [f"part-{number:06d}.parquet" for number in range(len(parts))]
    assert all(table.schema.remove_metadata() == regions_schema(("site",)) for table in tables)
    assert [len(table) for table in tables] == [
        len(expected[i : i + part_rows]) for i in range(0, max(1, len(expected)), part_rows)
    ]
    actual = [row for table in tables for row in table.to_pylist()]
    assert [(-row["evidence"], row["index"], row["x0"]) for row in actual] == expected
    assert [row["rank"] for row in actual] == list(range(1, len(actual) + 1))
    assert all(row["rle"] == [row["x0"], 1, 8 - row["x0"]] for row in actual)
    assert written == sum(part.stat().st_size for part in parts)


def test_write_regions_does_not_sort_regions_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_blocks(tmp_path, [[9.0, 8.0], [1.0, 8.0, 7.0], [0.5] * 9])
    sorted_rows = []

    def count_rows(tables, *args, **kwargs):  # type: ignore[no-untyped-def]
        tables = list(tables)
        sorted_rows.append(sum(map(len, tables)))
        return original(tables, *args, **kwargs)

    original = results.sort_tables
    monkeypatch.setattr(results, "sort_tables", count_rows)
    write_regions(directory, FINGERPRINT, 3, 2, ["road"], ("site",))
    assert sorted_rows == [3], "two regions of the first block, and one with as much evidence as the second"
    assert pq.read_table(tmp_path / "regions")["index"].to_pylist() == [0, 0]
