"""`masksift rerank`: new order, decisions that do not fit, and outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import regions_schema, reranked_schema
from review.helpers import image_decision, read_regions, region_decision, run_sources, write_decisions
from support.cli import error_message, exit_code
from support.results import read_rows
from support.sources import make_data, write_source

REGIONS, DECIDED = 400, 60
Row = dict[str, Any]


def is_wrong(row: Row) -> bool:
    """Truth about a region of `write_regions`."""
    return bool(row["centroid_x"] > 0.5)


def write_regions(out: Path, images: int) -> None:
    """Replace the regions of a run: in two parts, with labels that are wrong mostly where `suggested_z` is high."""
    rng = np.random.default_rng(0)
    suggested_z = rng.exponential(size=REGIONS)
    wrong = rng.random(REGIONS) < 1 / (1 + np.exp(-4 * (suggested_z - 1)))
    priorities = np.sort(rng.lognormal(size=REGIONS))[::-1]
    rows = []
    for number in range(REGIONS):
        index = int(rng.integers(images))
        rows.append(
            {
                "rank": number + 1,
                "image_id": f"a/{index}",
                "source": "a",
                "index": index,
                "kind": "label",
                "given": 0,
                "suggested": 1,
                "given_name": "0",
                "suggested_name": "1",
                "area": 1 + number % 9,
                "y0": 0,
                "x0": 0,
                "y1": 3,
                "x1": 4,
                "centroid_y": 1.0,
                "centroid_x": float(wrong[number]),
                "priority": priorities[number],
                "class_priority": priorities[number],
                "evidence": 1.0,
                "usual_evidence": float(rng.exponential()),
                "mean_self_confidence": 0.1,
                "mean_predicted_confidence": 0.9,
                "given_z": 0.0,
                "suggested_z": suggested_z[number],
                "given_pixels": 30,
                "suggested_pixels": 40,
                "height": 8,
                "width": 10,
                "rle": [0, 80],
            }
        )
    shutil.rmtree(out / "regions")
    for part, half in enumerate((rows[:150], rows[150:])):
        table = table_from_rows(half, regions_schema())
        write_table(ObjectDirectory(str(out)), f"regions/part-{part}.parquet", table, ["0", "1"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rerank")
    data = make_data(images=24)
    write_source(directory / "a.zarr", data)
    out = run_sources(directory / "run", directory / "a.zarr", args=("--report.top", 0))
    write_regions(out, 24)
    return out


def judged(row: Row) -> Row:
    return region_decision(row, "accept" if is_wrong(row) else "reject")


def rerank(out: Path, decisions: Path, *args: object, code: int = 0) -> list[Row]:
    """Run the command and return the rows of its table."""
    target = decisions.parent / "new.parquet"
    assert exit_code("rerank", out, "--verdicts", decisions, "--out", target, *args) == code
    rows: list[Row] = pq.read_table(target).to_pylist() if code == 0 else []
    return rows


def test_remaining_regions_are_ordered_by_probability(run: Path, tmp_path: Path) -> None:
    regions = read_regions(run)
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *map(judged, regions[:DECIDED])))
    assert pq.read_schema(tmp_path / "new.parquet").remove_metadata() == reranked_schema()
    assert [row["rank"] for row in rows] == list(range(1, REGIONS - DECIDED + 1))
    assert sorted(row["old_rank"] for row in rows) == list(range(DECIDED + 1, REGIONS + 1))
    probabilities = [row["probability"] for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < probabilities[-1] < probabilities[0] < 1
    by_rank = {row["rank"]: row for row in regions}
    for row in rows:
        old = by_rank[row["old_rank"]]
        assert {name: old[name] for name in row if name in old and name != "rank"} == {
            name: row[name] for name in row if name in old and name != "rank"
        }


def test_new_order_finds_more_errors_than_the_order_of_the_run(run: Path, tmp_path: Path) -> None:
    regions = read_regions(run)
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *map(judged, regions[:DECIDED])))
    found = average_precision_score([*map(is_wrong, rows)], [-row["rank"] for row in rows])
    before = average_precision_score([*map(is_wrong, regions[DECIDED:])], [-row["rank"] for row in regions[DECIDED:]])
    assert found > 1.5 * before


def test_summary_has_decisions_quality_and_expected_errors(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = read_regions(run)
    accepted = sum(map(is_wrong, regions[:DECIDED]))
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *map(judged, regions[:DECIDED])), "-n", 3)
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert f"decisions: {accepted} accepted, {DECIDED - accepted} rejected, 0 unsure, on regions of 2" in words
    expected = sum(row["probability"] for row in rows)
    assert f"all 340 that remain {expected:.0f} 95 % interval " in words
    assert f"first 100 of the new order {sum(row['probability'] for row in rows[:100]):.0f} " in words
    assert text.count("0 -> 1") == 3
    present, fitted, validated = (
        [float(word) for word in line.split()[-2:]]
        for line in text.splitlines()
        if line.startswith(("  present order", "  model on"))
    )
    assert present[0] < validated[0] <= fitted[0] + 0.1
    assert fitted[1] < validated[1] < present[1]


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(DECIDED)))
def test_order_of_the_decisions_in_the_file_does_not_matter(run: Path, tmp_path: Path, order: list[int]) -> None:
    regions = read_regions(run)
    printed = []
    for numbers in (range(DECIDED), order):
        file = write_decisions(tmp_path / "verdicts.json", run, *(judged(regions[number]) for number in numbers))
        rerank(run, file)
        printed.append((tmp_path / "new.parquet").read_bytes())
    assert printed[0] == printed[1]


@pytest.mark.parametrize(("accepted", "rejected"), [(0, 0), (9, 40), (40, 9)])
def test_too_few_decisions_of_a_kind_keep_the_order(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], accepted: int, rejected: int
) -> None:
    regions = read_regions(run)
    decisions = [region_decision(row, "accept") for row in regions[:accepted]]
    decisions += [region_decision(row, "reject") for row in regions[accepted : accepted + rejected]]
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *decisions))
    assert [row["old_rank"] for row in rows] == list(range(accepted + rejected + 1, REGIONS + 1))
    assert {row["probability"] for row in rows} == {None}
    text = capsys.readouterr().out
    assert "fewer than 10 of a kind: the order does not change" in text
    assert "expected" not in text


def test_ten_decisions_of_each_kind_suffice(run: Path, tmp_path: Path) -> None:
    regions = read_regions(run)
    decisions = [region_decision(row, "accept") for row in regions[:10]]
    decisions += [region_decision(row, "reject") for row in regions[10:20]]
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *decisions))
    assert all(row["probability"] is not None for row in rows)


def test_decision_on_an_image_counts_once_and_covers_its_regions(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = read_regions(run)
    image = next(index for index in range(24) if sum(row["index"] == index for row in regions) > 10)
    of_image = [row for row in regions if row["index"] == image]
    others = [row for row in regions if row["index"] != image][:30]
    decisions = [image_decision(of_image[0], "reject"), region_decision(of_image[1], "unsure"), *map(judged, others)]
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *decisions))
    accepted = sum(map(is_wrong, others))
    assert f"{accepted} accepted, {31 - accepted} rejected, 1 unsure" in capsys.readouterr().out
    assert [row["old_rank"] for row in rows if row["index"] == image] == [of_image[1]["rank"]]


def test_unsure_region_stays_in_the_list_and_is_not_learned_from(run: Path, tmp_path: Path) -> None:
    regions = read_regions(run)
    decisions = [judged(row) for row in regions[:DECIDED]]
    unsure = region_decision(regions[DECIDED], "unsure")
    without = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *decisions))
    rows = rerank(run, write_decisions(tmp_path / "verdicts.json", run, *decisions, unsure))
    assert [row["old_rank"] for row in rows if row["decision"] == "unsure"] == [DECIDED + 1]
    assert [{**row, "decision": None} for row in rows] == without


def test_decisions_on_all_regions_leave_an_empty_list(run: Path, tmp_path: Path) -> None:
    assert rerank(run, write_decisions(tmp_path / "verdicts.json", run, *map(judged, read_regions(run)))) == []


def test_table_is_written_into_the_run_by_default(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = write_decisions(tmp_path / "verdicts.json", run, *map(judged, read_regions(run)[:DECIDED]))
    assert exit_code("rerank", tmp_path / "run", "--verdicts", file) == 0
    rerank(run, file)
    assert (tmp_path / "run/reranked.parquet").read_bytes() == (tmp_path / "new.parquet").read_bytes()
    assert len(read_rows(tmp_path / "run", "regions")) == REGIONS


def change_fingerprint(file: Path, regions: list[Row]) -> None:
    file.write_text(file.read_text().replace('"run": "', '"run": "f00'))


def change_rank(file: Path, regions: list[Row]) -> None:
    tree = json.loads(file.read_text())
    tree["verdicts"][3]["region"]["rank"] = REGIONS + 1
    file.write_text(json.dumps(tree))


def change_image(file: Path, regions: list[Row]) -> None:
    tree = json.loads(file.read_text())
    tree["verdicts"][3]["index"] = (regions[3]["index"] + 1) % 24
    file.write_text(json.dumps(tree))


def name_unknown_image(file: Path, regions: list[Row]) -> None:
    tree = json.loads(file.read_text())
    tree["verdicts"][3]["index"] = 24
    file.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_fingerprint, "holds decisions on run f00"),
        (change_rank, "mentions region 401, but the run lists 400"),
        (change_image, "assigns region 4 to image"),
        (name_unknown_image, "mentions image 24 of a, but the run has 24 images of it"),
    ],
)
def test_decisions_on_other_regions_are_rejected(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path, list[Row]], None],
    message: str,
) -> None:
    regions = read_regions(run)
    file = write_decisions(tmp_path / "verdicts.json", run, *map(judged, regions[:DECIDED]))
    change(file, regions)
    rerank(run, file, code=2)
    assert message in error_message(capsys)
    assert not (tmp_path / "new.parquet").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("{run}/regions/part-9.parquet", "is inside the input"),
        ("{run}/../a.zarr/new.parquet", "is inside the input"),
        ("{tmp}/new.csv", "must be a file that ends in .parquet"),
    ],
)
def test_output_that_is_no_new_parquet_file_is_rejected(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, message: str
) -> None:
    file = write_decisions(tmp_path / "verdicts.json", run)
    capsys.readouterr()
    assert exit_code("rerank", run, "--verdicts", file, "--out", out.format(run=run, tmp=tmp_path)) == 2
    assert message in error_message(capsys)


def test_regions_of_an_earlier_version_are_rejected(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    for part in (tmp_path / "run/regions").iterdir():
        pq.write_table(pq.read_table(part).drop_columns(["priority", "given_z"]), part)
    rerank(tmp_path / "run", write_decisions(tmp_path / "verdicts.json", run), code=2)
    assert "have no 'priority': an earlier version of masksift wrote them" in error_message(capsys)
    shutil.rmtree(tmp_path / "run/regions")
    rerank(tmp_path / "run", write_decisions(tmp_path / "verdicts.json", run), code=2)
    assert "has no regions/part-*.parquet" in error_message(capsys)
