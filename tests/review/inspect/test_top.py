"""`masksift top`: rows of images and regions, text table and JSON lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.engine import result_tables as results
from masksift.review.inspect.config import TopConfig
from masksift.review.inspect.top import TopTable, top
from support.cli import error_message, exit_code, run_cli
from support.results import read_files, read_rows
from support.sources import erase_chunks, make_data, write_source

NAMES = ["road", "<b>car</b>", "空", "a, b"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources of eight images, two of them quarantined."""
    folder = tmp_path_factory.mktemp("top")
    for day, seed in (("dt=1", 11), ("dt=2", 12)):
        source = write_source(
            folder / day,
            make_data(dtype="uint8", seed=seed),
            ids=[f"街{i} [red]" if i else "x\ty" for i in range(8)],
            attributes={"class_names": NAMES, "ignore": [255]},
        )
    erase_chunks(source.labels, slice(6, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "RANKING_PART_ROWS", 4)
        args = ("--source", folder / "dt=*", "--out", folder / "out", "--regions.min_area", 1)
        assert run_cli("run", *args, "--max_quarantined", 2) == 0
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RANKING_PART_ROWS", 4)
    monkeypatch.setattr("masksift.review.inspect.top._ROWS_AT_ONCE", 3)


def list_top(directory: Path, **options: Any) -> TopTable:
    return top(TopConfig(run=str(directory / "out"), **options))


@pytest.mark.parametrize("top", [1, 5, 13, 14, 1000])
def test_images_are_the_first_of_the_ranking(runs: Path, top: int) -> None:
    rows = list_top(runs, top=top).rows
    ranking = read_rows(runs / "out", "ranking")[:top]
    assert len(rows) == min(top, 14)
    table = {(row["source"], row["index"]): row for row in read_rows(runs / "out")}
    for row, ranked in zip(rows, ranking, strict=True):
        assert (row["rank"], row["score"], row["ranked_by"]) == (ranked["rank"], ranked["score"], "combined")
        expected = table[ranked["source"], ranked["index"]]
        assert {name: row[name] for name in expected} == expected
        for side in ("given", "suggested", "class"):
            number = expected[f"worst_{side}"]
            assert row[f"worst_{side}_name"] == (None if number is None else NAMES[number])


@pytest.mark.parametrize("by", ["clc", "ccp", "coco", "omission", "softmin", "combined"])
@pytest.mark.parametrize("top", [1, 6, 100])
def test_by_score_orders_images_with_ties_in_table_order(runs: Path, by: str, top: int) -> None:
    rows = list_top(runs, top=top, by=by).rows
    scored = [row for row in read_rows(runs / "out") if row["status"] == "scored"]
    expected = sorted(scored, key=lambda row: row[by])[:top]
    assert [(row["source"], row["index"], row["score"]) for row in rows] == [
        (row["source"], row["index"], row[by]) for row in expected
    ]
    assert [row["rank"] for row in rows] == list(range(1, len(expected) + 1))
    assert {row["ranked_by"] for row in rows} == {by}


@pytest.mark.parametrize("top", [1, 7, 10_000])
def test_regions_are_the_first_of_the_region_table_without_masks(runs: Path, top: int) -> None:
    table = read_rows(runs / "out", "regions")[:top]
    for row in table:
        del row["rle"]
    assert list_top(runs, top=top, regions=True, per_image=1000).rows == table


@pytest.mark.parametrize("per_image", [1, 2])
def test_regions_of_an_image_are_limited_and_counted(runs: Path, per_image: int) -> None:
    every = list_top(runs, top=10_000, regions=True, per_image=1000).rows
    table = list_top(runs, top=20, regions=True, per_image=per_image)
    seen, expected = Counter[tuple[str, int]](), []
    for position, row in enumerate(every):
        if len(expected) == 20:
            break
        seen[row["source"], row["index"]] += 1
        if seen[row["source"], row["index"]] <= per_image:
            expected.append(row)
        last = position + 1
    assert table.rows == expected
    assert table.text().splitlines()[-1] == f"and {last - len(expected)} regions of these images: see --per-image"


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_text_has_one_line_per_image(runs: Path) -> None:
    table = list_top(runs, top=100)
    lines = table.text().splitlines()
    assert cells(lines[0]) == ["rank", "image", "combined", "flagged px", "most of them", "px", "agrees less", "source"]
    assert len(lines) == 15
    for line, row in zip(lines[1:], table.rows, strict=True):
        expected = [str(row["rank"]), row["image_id"].replace("\t", "\\t"), f"{row['score']:.4f}"]
        expected.append(f"{row['flagged_pixels']:,}")
        if row["worst_pixels"] is not None:
            pair = f"{NAMES[row['worst_given']]} -> {NAMES[row['worst_suggested']]}"
            expected += [pair, f"{row['worst_pixels']:,}"]
        if (row["worst_class_z"] or 0) >= 2:
            expected.append(row["worst_class_name"])
        assert cells(line) == [*expected, f"{row['source']}/{row['index']}"]
    assert any((row["worst_class_z"] or 0) >= 2 for row in table.rows)


def test_text_has_one_line_per_region(runs: Path) -> None:
    table = list_top(runs, top=30, regions=True, per_image=1000)
    lines = table.text().splitlines()
    titles = ["rank", "image", "priority", "evidence", "given -> suggested", "px", "rows", "columns", "source"]
    assert cells(lines[0]) == titles
    for line, row in zip(lines[1:], table.rows, strict=True):
        assert cells(line) == [
            str(row["rank"]),
            row["image_id"].replace("\t", "\\t"),
            f"{row['priority']:,.1f}",
            f"{row['evidence']:,.1f}",
            f"{row['given_name'] or 'no label'} -> {row['suggested_name']}",
            str(row["area"]),
            f"{row['y0']}:{row['y1']}",
            f"{row['x0']}:{row['x1']}",
            f"{row['source']}/{row['index']}",
        ]


def test_source_column_is_omitted_for_one_source(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr")
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert cells(list_top(tmp_path).text().splitlines()[0])[-1] == "px"


def test_long_id_keeps_columns_aligned_and_wraps_on_a_terminal(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr", make_data(images=2), ids=["x" * 500, "空" * 9])
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    table = list_top(tmp_path)
    lines = table.text().splitlines()
    assert len(lines) == 3
    assert (
        len(
            {
                line.index(f"{row['score']:.4f}") + row["image_id"].count("空")
                for line, row in zip(lines[1:], table.rows, strict=True)
            }
        )
        == 1
    )
    assert table.text(1000) == table.text()
    wrapped = table.text(60).splitlines()
    assert max(map(len, wrapped)) <= 60
    assert "".join(wrapped).count("x") >= 500
    assert "combined" in wrapped[0]


def test_run_without_scored_images_lists_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=2)
    write_source(tmp_path / "s.zarr", data._replace(labels=np.full_like(data.labels, 255)))
    args = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--max_quarantined", 2)
    assert run_cli("run", *args) == 0
    for options in ({}, {"by": "clc"}, {"regions": True}):
        assert list_top(tmp_path, **options).text() == "nothing to list"
        assert list(list_top(tmp_path, **options).lines()) == []


def test_command_prints_the_table_and_changes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_files(runs)
    for args, options in (
        ((), {}),
        (("-n", 3), {"top": 3}),
        (("--top", 3), {"top": 3}),
        (("--by", "clc"), {"by": "clc"}),
        (("--regions", "-n", 4), {"top": 4, "regions": True}),
    ):
        assert exit_code("top", *args, runs / "out") == 0
        printed = capsys.readouterr()
        assert printed.out == list_top(runs, **options).text() + "\n"
        assert printed.err == ""
    assert read_files(runs) == before


def test_json_has_one_object_per_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args, options in (((), {}), (("--regions",), {"regions": True})):
        assert exit_code("top", runs / "out", "--json", *args) == 0
        printed = capsys.readouterr().out
        assert printed.isascii()
        assert [json.loads(line) for line in printed.splitlines()] == [
            dict(row) for row in list_top(runs, **options).rows
        ]


def test_closed_pipe_is_not_an_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    assert exit_code("top", runs / "out") == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere",), "nowhere holds no complete run"),
        (("OUT", "--by", "softmax"), r"no score 'softmax', only ccp, .*Did you mean 'softmin'\?"),
        (("OUT", "--by", "clc", "--regions"), "by is 'clc', but regions are listed by their rank"),
        (("OUT", "-n", "0"), "top must be a number greater than or equal to 1"),
        (("OUT", "-n", "few"), "top must be a whole number"),
        (("OUT", "--region"), r"Unknown flag '--region'. Did you mean --regions\?"),
        ((), "arguments are required: RUN"),
    ],
)
def test_invalid_arguments_are_rejected(
    runs: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("top", *(runs / "out" if arg == "OUT" else arg for arg in args)) == 2
    assert re.search(message, error_message(capsys))
