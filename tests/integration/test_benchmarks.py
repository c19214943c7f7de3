"""Cost page computed from stored figures, and comparison of measured with stored ratios."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import bench_ranking, quick, simulated
from benchmarks.bench_lake import SOURCES
from benchmarks.cost import CLASSES, IMAGES, INPUTS, Figures, LakeCost, Prices, cost, lake_cost, page
from masksift.engine.compact_task import ImageParts, load_part
from masksift.engine.planning.blocks import BlockSequence

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
    "image: 19 classes: evidence reads": 2.5,
    "image: 19 classes: evidence writes": 1.5,
    "image: 19 classes: more reads": 10,
    "image: 19 classes: condense": 0.06,
    "image: 19 classes: score": 0.03,
    "image: 19 classes: in memory": 0.02,
    "scheduler: condense: busy": 0.95,
    "scheduler: score: busy": 0.9,
    "scheduler: condense: scheduler ms a block": 3,
    "scheduler: score: scheduler ms a block": 2,
    "sources: open, seconds per 1,000": 50,
    "sources: create, seconds per 1,000": 30,
    "sources: open, requests a source": 9,
    "sources: create, requests a source": 5,
    "ranking: 10000000 images: compact": 80,
    "ranking: 10000000 images: places": 5,
    "ranking: 10000000 images: combine": 15,
    "ranking: 10000000 images: split": 30,
    "ranking: 10000000 images: rank": 50,
    "ranking: 10000000 images: client": 20,
    "ranking: 10000000 images: requests": 156_250 + 16_000,
}


def test_cost_of_a_million_images_equals_hand_calculation() -> None:
    estimate = cost(Figures(ROWS), 1_000_000, 19, INPUTS[0])
    assert estimate.stored == 15e12
    assert estimate.gets == pytest.approx(1e6 * 4.5 + 20_000 * 10 + 100 * 9 + 20_000 + 160)
    assert estimate.puts == 2e6 + 100 * 5
    assert estimate.core_seconds == pytest.approx(90_000)
    assert estimate.opening_seconds == pytest.approx(8)
    assert estimate.ranking_seconds == pytest.approx(18 - (1_600 - 160) * 0.03 / 16)
    assert estimate.wall(10) == pytest.approx(8 + 90_000 / 9 + estimate.ranking_seconds / 9 + 2)


def test_cost_of_reading_ranges_grows_with_the_square_of_the_images() -> None:
    estimate = cost(Figures(ROWS), 1_000_000_000, 19, INPUTS[0])
    ranges = 16_000 * 100**2
    assert estimate.gets == pytest.approx(1e9 * 4.5 + 20e6 * 10 + 1e5 * 9 + 20e6 + ranges)
    assert estimate.ranking_seconds == pytest.approx(18_000 + (ranges - 16_000 * 100) * 0.03 / 16)


def test_cost_of_evidence_at_inference_excludes_predictions() -> None:
    estimate = cost(Figures(ROWS), 1_000_000, 19, INPUTS[1])
    assert estimate.stored == 5e12
    assert estimate.gets == pytest.approx(1e6 * 2.5 + 20_000 * 5 + 100 * 9 + 20_000 + 160)
    assert estimate.puts == 1.5e6 + 100 * 5
    assert estimate.core_seconds == pytest.approx(50_000)


def test_wall_time_of_passes_is_limited_by_the_scheduler() -> None:
    estimate = cost(Figures(ROWS), 1_000_000, 19, INPUTS[0])
    assert estimate.passes(100_000) == pytest.approx(20_000 * (0.003 + 0.002))


def test_cost_of_small_sources_grows_by_the_slopes() -> None:
    seconds = {"open": (60, 0.005), "condense": (400, 0.04), "thresholds": (40, 0.004), "score": (250, 0.02)}
    rows = {f"lake: {name}: seconds": value for name, (value, _) in seconds.items()} | {"lake: rank: seconds": 50}
    rows |= {f"lake: {name}: seconds a source": slope for name, (_, slope) in seconds.items()}
    rows |= {"lake: rank: seconds a source": 0.005}
    for kind, requests in {"GET": 24, "HEAD": 1, "PUT": 12, "LIST": 4, "DELETE": 1}.items():
        rows |= {f"lake: {kind}: requests": requests * 10_000, f"lake: {kind}: requests a source": requests}
    for process, mib in {"client": 400, "scheduler": 100}.items():
        rows |= {f"lake: {process}: MiB": mib, f"lake: {process}: MiB a source": mib / 1e5}
    assert SOURCES[-1] == 10_000
    assert lake_cost(Figures(rows), 10_000) == LakeCost(60, 2 * 740, 250_000, 160_000, 400, 100)
    more = lake_cost(Figures(rows), 110_000)
    assert vars(more) == pytest.approx(vars(LakeCost(560, 2 * (740 + 6_900), 2_750_000, 1_760_000, 800, 200)))
    assert more.wall(10) == pytest.approx(560 + 2 * 764)


def test_ranking_benchmark_writes_block_outputs_of_a_run(tmp_path: Path) -> None:
    images = 2 * bench_ranking.BLOCK_IMAGES
    bench_ranking.write_blocks(tmp_path, images)
    context = bench_ranking.make_context(tmp_path)
    parts = ImageParts(BlockSequence(((images, bench_ranking.BLOCK_IMAGES),)), context.run.image_part_rows)
    rows = load_part(context, bench_ranking.TOTALS, context.manifest, parts[0])
    assert (len(rows.images), len(rows.regions)) == (images, images * bench_ranking.REGIONS_PER_IMAGE)


def test_simulated_task_returns_its_duration() -> None:
    block = SimpleNamespace(number=3, images=4)
    result = simulated.answer(None, 0.02, SimpleNamespace(block=block, spec=SimpleNamespace(pixels=10)))  # type: ignore[arg-type]
    assert (result.number, result.images, result.pixels, result.quarantined) == (3, 4, 40, 0)
    assert result.seconds >= 0.9 * 0.02


def test_cost_page_equals_page_of_stored_figures() -> None:
    rows = json.loads((HERE / "results.json").read_text())
    assert (REPOSITORY / "docs/operations/cost.md").read_text() == page(rows, Prices(), "results.json")


def test_cost_page_uses_figures_of_the_stored_report() -> None:
    rows = json.loads((HERE / "results.json").read_text())
    figures = Figures(rows)
    for classes in CLASSES:
        for inputs in INPUTS:
            cost(figures, IMAGES[0], classes, inputs)
    lake_cost(figures, SOURCES[-1])
    assert {name.split(":")[0] for name in figures.used} == {"image", "scheduler", "ranking", "sources", "lake"}
    report = (HERE / "results.md").read_text()
    for part in ("One image of", "A scheduler with", "Ranking, from a store", "Many sources (", "Many sources in"):
        assert f"## {part}" in report


def test_quick_benchmark_reports_ratio_worse_by_thirty_percent() -> None:
    stored = {"a": 1.0, "b": 100.0}
    assert quick.worse({"a": 0.77, "b": 77.0}, stored) == []
    assert quick.worse({"a": 0.76, "b": 200.0}, stored) == ["a"]
    assert quick.worse({"new": 0.1}, stored) == []


def test_quick_benchmark_repeats_a_worse_section_and_uses_the_better_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measurements = iter([{"a": 0.5, "b": 1.2}, {"a": 0.9, "b": 1.1}])
    monkeypatch.setattr(quick, "PARTS", (lambda folder: next(measurements),))
    assert quick.measure_all(tmp_path, {"a": 1.0, "b": 1.0}) == {"a": 0.9, "b": 1.2}


def test_quick_benchmark_exits_with_one_and_names_the_slower_ratio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quick, "STORED", tmp_path / "quick.json")
    monkeypatch.setattr(quick, "PARTS", (lambda folder: {"speed": 1.0},))
    assert quick.main(["--keep"]) == 0
    assert quick.main([]) == 0
    monkeypatch.setattr(quick, "PARTS", (lambda folder: {"speed": 0.5},))
    assert quick.main([]) == 1
    assert "speed is 0.50, 2.0 times worse than the 1.00" in capsys.readouterr().out
