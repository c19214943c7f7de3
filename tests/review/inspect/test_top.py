"""`masksift top`: the rows of the run's own tables, in their order or by another score, for people and for machines."""

from __future__ import annotations

import json
import re
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
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources of eight images, one of which has an image that is not scored."""
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
        words = ("--source", folder / "dt=*", "--out", folder / "out", "--regions.min_area", 1)
        assert run_cli("run", *words, "--max_quarantined", 2) == 0
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RANKING_PART_ROWS", 4)
    monkeypatch.setattr("masksift.review.inspect.top._AT_ONCE", 3)


def told(folder: Path, **more: Any) -> TopTable:
    return top(TopConfig(run=str(folder / "out"), **more))


# ------------------------------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize("top", [1, 5, 13, 14, 1000])
def test_the_worst_are_the_first_of_the_ranking_with_what_the_table_of_images_says(made: Path, top: int) -> None:
    found = told(made, top=top).rows
    ranking = read_rows(made / "out", "ranking")[:top]
    assert len(found) == min(top, 14)
    table = {(row["source"], row["index"]): row for row in read_rows(made / "out")}
    for row, ranked in zip(found, ranking, strict=True):
        assert (row["rank"], row["score"], row["ranked_by"]) == (ranked["rank"], ranked["score"], "softmin")
        own = table[ranked["source"], ranked["index"]]
        assert {name: row[name] for name in own} == own
        for side in ("given", "suggested"):
            number = own[f"worst_{side}"]
            assert row[f"worst_{side}_name"] == (None if number is None else NAMES[number])


@pytest.mark.parametrize("by", ["clc", "ccp", "coco", "omission", "softmin"])
@pytest.mark.parametrize("top", [1, 6, 100])
def test_by_another_score_they_are_in_its_order_and_equal_ones_in_that_of_the_table(
    made: Path, by: str, top: int
) -> None:
    found = told(made, top=top, by=by).rows
    scored = [row for row in read_rows(made / "out") if row["status"] == "scored"]
    expected = sorted(scored, key=lambda row: row[by])[:top]
    assert [(row["source"], row["index"], row["score"]) for row in found] == [
        (row["source"], row["index"], row[by]) for row in expected
    ]
    assert [row["rank"] for row in found] == list(range(1, len(expected) + 1))
    assert {row["ranked_by"] for row in found} == {by}


@pytest.mark.parametrize("top", [1, 7, 10_000])
def test_regions_are_the_first_of_their_table_without_their_masks(made: Path, top: int) -> None:
    table = read_rows(made / "out", "regions")[:top]
    for row in table:
        del row["rle"]
    assert told(made, top=top, regions=True).rows == table


# ---------------------------------------------------------------------------------------------------- for people


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_a_row_is_a_line_whatever_the_names_hold(made: Path) -> None:
    found = told(made, top=100)
    lines = found.text().splitlines()
    assert cells(lines[0]) == ["rank", "image", "softmin", "flagged px", "most of them", "px", "source"]
    assert len(lines) == 15
    for line, row in zip(lines[1:], found.rows, strict=True):
        expected = [str(row["rank"]), row["image_id"].replace("\t", "\\t"), f"{row['score']:.4f}"]
        expected.append(f"{row['flagged_pixels']:,}")
        if row["worst_pixels"] is not None:
            pair = f"{NAMES[row['worst_given']]} -> {NAMES[row['worst_suggested']]}"
            expected += [pair, f"{row['worst_pixels']:,}"]
        assert cells(line) == [*expected, f"{row['source']}/{row['index']}"]


def test_the_table_of_regions(made: Path) -> None:
    found = told(made, top=30, regions=True)
    lines = found.text().splitlines()
    assert cells(lines[0]) == ["rank", "image", "evidence", "given -> suggested", "px", "rows", "columns", "source"]
    for line, row in zip(lines[1:], found.rows, strict=True):
        assert cells(line) == [
            str(row["rank"]),
            row["image_id"].replace("\t", "\\t"),
            f"{row['evidence']:,.1f}",
            f"{row['given_name'] or 'no label'} -> {row['suggested_name']}",
            str(row["area"]),
            f"{row['y0']}:{row['y1']}",
            f"{row['x0']}:{row['x1']}",
            f"{row['source']}/{row['index']}",
        ]


def test_of_one_source_nothing_is_said_of_it(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr")
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert cells(told(tmp_path).text().splitlines()[0])[-1] == "px"


def test_a_long_id_breaks_no_column_where_nobody_sees_a_screen(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr", make_data(images=2), ids=["x" * 500, "空" * 9])
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    found = told(tmp_path)
    lines = found.text().splitlines()
    assert len(lines) == 3
    assert (
        len(
            {
                line.index(f"{row['score']:.4f}") + row["image_id"].count("空")
                for line, row in zip(lines[1:], found.rows, strict=True)
            }
        )
        == 1
    )
    assert found.text(1000) == found.text(), "a screen that is wide enough shows the same"
    folded = found.text(60).splitlines()
    assert max(map(len, folded)) <= 60
    assert "".join(folded).count("x") >= 500
    assert "softmin" in folded[0]


def test_where_nothing_is_scored_or_listed_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=2)
    write_source(tmp_path / "s.zarr", data._replace(labels=np.full_like(data.labels, 255)))
    words = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--max_quarantined", 2)
    assert run_cli("run", *words) == 0
    for more in ({}, {"by": "clc"}, {"regions": True}):
        assert told(tmp_path, **more).text() == "there are none"
        assert list(told(tmp_path, **more).lines()) == []


# --------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_the_table_and_changes_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_files(made)
    for words, more in (
        ((), {}),
        (("-n", 3), {"top": 3}),
        (("--top", 3), {"top": 3}),
        (("--by", "clc"), {"by": "clc"}),
        (("--regions", "-n", 4), {"top": 4, "regions": True}),
    ):
        assert exit_code("top", *words, made / "out") == 0
        printed = capsys.readouterr()
        assert printed.out == told(made, **more).text() + "\n"
        assert printed.err == ""
    assert read_files(made) == before


def test_for_machines_there_is_a_json_object_a_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, more in (((), {}), (("--regions",), {"regions": True})):
        assert exit_code("top", made / "out", "--json", *words) == 0
        printed = capsys.readouterr().out
        assert printed.isascii()
        assert [json.loads(line) for line in printed.splitlines()] == [dict(row) for row in told(made, **more).rows]


def test_a_reader_that_has_seen_enough_is_no_failure(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    assert exit_code("top", made / "out") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere holds no complete run"),
        (("OUT", "--by", "softmax"), r"no score 'softmax', only ccp, .*Did you mean 'softmin'\?"),
        (("OUT", "--by", "clc", "--regions"), "by is 'clc', and regions are asked for; regions are ordered"),
        (("OUT", "-n", "0"), "top must be a number greater than or equal to 1"),
        (("OUT", "-n", "few"), "top must be a whole number"),
        (("OUT", "--region"), r"no flag '--region'; .*Did you mean --regions\?"),
        ((), "arguments are required: RUN"),
    ],
)
def test_what_is_mistyped_is_refused(
    made: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("top", *(made / "out" if word == "OUT" else word for word in words)) == 2
    assert re.search(said, error_message(capsys))
