"""The cost page is arithmetic over rows of a benchmark run that lies beside it; the guard tells slower from faster."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import bench_ranking, quick, simulated
from benchmarks.cost import CLASSES, IMAGES, WAYS, Figures, Prices, cost, page

HERE = Path(__file__).parents[1] / "benchmarks"
REPOSITORY = HERE.parents[1]


ROWS: dict[str, float] = {
    "image: 19 classes: predictions": 10e6,
    "image: 19 classes: labels": 1e6,
    "image: 19 classes: evidence": 4e6,
    "image: 19 classes: mask": 0,
    "image: 19 classes: images": 50,
    "image: 19 classes: reads": 4,
    "image: 19 classes: writes": 2,
    "image: 19 classes: more reads": 10,
    "image: 19 classes: condense": 0.06,
    "image: 19 classes: score": 0.03,
    "image: 19 classes: in memory": 0.02,
    "scheduler: condense: busy": 0.95,
    "scheduler: score: busy": 0.9,
    "scheduler: condense: scheduler ms a task": 3,
    "scheduler: score: scheduler ms a task": 2,
    "ranking: 100000000 rows: seconds": 200,
}


def test_a_million_images_by_hand() -> None:
    found = cost(Figures(ROWS), 1_000_000, 19, WAYS[0])
    assert found.stored == 15e12
    assert found.gets == 1e6 * 4 + 20_000 * 10
    assert found.puts == 2e6
    assert found.core_seconds == pytest.approx(90_000)
    assert found.tasks == 40_000
    assert found.wall(10) == pytest.approx(90_000 / 9 + 2)


def test_evidence_at_inference_stores_and_reads_no_predictions() -> None:
    found = cost(Figures(ROWS), 1_000_000, 19, WAYS[1])
    assert found.stored == 5e12
    assert found.gets == 1e6 * 2 + 20_000 * 5
    assert found.core_seconds == pytest.approx(50_000)


def test_the_scheduler_is_a_limit_of_its_own() -> None:
    found = cost(Figures(ROWS), 1_000_000, 19, WAYS[0])
    assert found.wall(100_000) == pytest.approx(40_000 * 0.003 + 2)


def test_the_rows_that_are_ranked_are_those_of_a_run() -> None:
    """Minutes into the benchmarks would be late to learn it."""
    assert [len(table) for table in bench_ranking.images(5, each=2)] == [2, 2, 1]
    bench_ranking.sort(1000)


def test_a_simulated_task_answers_how_long_it_took() -> None:
    block = SimpleNamespace(number=3, images=4)
    result = simulated.answer(None, 0.02, SimpleNamespace(block=block, spec=SimpleNamespace(pixels=10)))  # type: ignore[arg-type]
    assert (result.number, result.images, result.pixels, result.quarantined) == (3, 4, 40, 0)
    assert result.seconds >= 0.9 * 0.02


def test_the_page_is_what_the_kept_figures_make() -> None:
    rows = json.loads((HERE / "results.json").read_text())
    assert (REPOSITORY / "docs/operations/cost.md").read_text() == page(rows, Prices(), "results.json")


def test_every_figure_of_the_page_stands_in_the_kept_report() -> None:
    rows = json.loads((HERE / "results.json").read_text())
    figures = Figures(rows)
    for classes in CLASSES:
        for way in WAYS:
            cost(figures, IMAGES[0], classes, way)
    assert figures.used
    assert {name.split(":")[0] for name in figures.used} == {"image", "scheduler", "ranking"}
    report = (HERE / "results.md").read_text()
    for part in ("One image of", "A scheduler with", "Ranking, out of core"):
        assert f"## {part}" in report


def test_the_guard_knows_a_ratio_that_fell_by_more_than_thirty_per_cent() -> None:
    kept = {"a": 1.0, "b": 100.0}
    assert quick.worse({"a": 0.77, "b": 77.0}, kept) == []
    assert quick.worse({"a": 0.76, "b": 200.0}, kept) == ["a"]
    assert quick.worse({"new": 0.1}, kept) == []


def test_the_guard_measures_a_worse_part_again_and_keeps_the_better(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns = iter([{"a": 0.5, "b": 1.2}, {"a": 0.9, "b": 1.1}])
    monkeypatch.setattr(quick, "PARTS", (lambda folder: next(turns),))
    assert quick.measure_all(tmp_path, {"a": 1.0, "b": 1.0}) == {"a": 0.9, "b": 1.2}


def test_the_guard_ends_with_one_and_says_what_became_slower(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quick, "KEPT", tmp_path / "quick.json")
    monkeypatch.setattr(quick, "PARTS", (lambda folder: {"speed": 1.0},))
    assert quick.main(["--keep"]) == 0
    assert quick.main([]) == 0
    monkeypatch.setattr(quick, "PARTS", (lambda folder: {"speed": 0.5},))
    assert quick.main([]) == 1
    assert "speed is 0.50, 2.0 times worse than the 1.00" in capsys.readouterr().out
