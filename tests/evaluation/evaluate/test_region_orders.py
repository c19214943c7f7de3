"""Orders of the listed regions: equal to plain loops and scikit-learn, general properties, and runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score

from evaluation.evaluate.helpers import (
    PlantedErrors,
    evaluate,
    plant_errors,
    read_metric,
    read_metrics,
    run_planted,
    write_simulation,
)
from masksift.evaluation.evaluate.bootstrap import resample
from masksift.evaluation.evaluate.listed_regions import ORDER_COLUMNS, order_places
from masksift.evaluation.evaluate.region_orders import (
    AVERAGE_PRECISION,
    REVIEWED_REGIONS,
    RegionEvaluation,
    RegionReview,
    evaluate_order,
    make_region_review,
)
from reference import region_review as reference
from support.cli import run_cli
from support.run_processes import write_dataset_source

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
MEASURES = ("region_average_precision", "region_precision", "region_wrong_images")


@st.composite
def lists_of_regions(draw: st.DrawFn, most: int = 300) -> tuple[Integers, Bools]:
    """Images of regions in review order, of which at least one is a true positive."""
    count = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = rng.integers(0, draw(st.integers(1, count)), count)
    hits = rng.random(count) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    hits[draw(st.integers(0, count - 1))] = True
    return images, hits


def evaluated(images: Integers, hits: Bools, most_per_image: int | None = None) -> RegionEvaluation:
    return evaluate_order(np.arange(len(images)), images, hits, most_per_image)


def reference_regions(images: Integers, hits: Bools) -> list[reference.ListedRegion]:
    pairs = enumerate(zip(images.tolist(), hits.tolist(), strict=True))
    return [reference.ListedRegion(image, hit, {"evidence": 0.0}, rank) for rank, (image, hit) in pairs]


# ----------------------------------------------------------------------------------------------- equality and laws


@given(lists_of_regions(), st.none() | st.integers(1, 4))
def test_metrics_equal_plain_loops(regions: tuple[Integers, Bools], per_image: int | None) -> None:
    ordered = reference.review(reference_regions(*regions), "evidence", per_image)
    evaluation = evaluated(*regions, per_image)
    hits = sum(region.is_hit for region in ordered)
    assert (evaluation.regions, evaluation.true_positives) == (len(ordered), hits)
    if hits:
        assert evaluation.values[AVERAGE_PRECISION] == pytest.approx(reference.average_precision(ordered), abs=1e-12)
    for count in REVIEWED_REGIONS:
        found = [evaluation.values[name, str(count)] for name in MEASURES[1:]]
        if count > len(ordered):
            assert np.isnan(found).all()
            assert evaluation.reasons["region_precision", str(count)] == f"only {len(ordered)} regions are reviewed"
        else:
            assert found == [reference.precision(ordered, count), reference.wrong_images(ordered, count)]


@given(lists_of_regions(60), st.integers(0, 2**32 - 1))
def test_metrics_of_resample_equal_sklearn(regions: tuple[Integers, Bools], seed: int) -> None:
    images, hits = regions
    weights = np.random.default_rng(seed).integers(0, 4, int(images.max()) + 1)
    review = make_region_review(np.arange(len(images)), images, hits)
    values, repeated = review.metrics(weights), weights[images]
    if repeated[hits].sum():
        area = average_precision_score(hits, -np.arange(len(images)), sample_weight=repeated)
        assert values[AVERAGE_PRECISION] == pytest.approx(area, abs=1e-12)
    for count in REVIEWED_REGIONS:
        if repeated.sum() == count:  # every region is reviewed
            assert values["region_precision", str(count)] == pytest.approx(repeated[hits].sum() / count)
            assert values["region_wrong_images", str(count)] == weights[np.unique(images[hits])].sum()


@given(lists_of_regions())
def test_weights_of_one_change_no_metric(regions: tuple[Integers, Bools]) -> None:
    review = evaluated(*regions).review
    assert review is not None
    weights = np.ones(int(regions[0].max()) + 1, np.int64)
    assert review.metrics(weights) == pytest.approx(review.metrics(), nan_ok=True)


@given(lists_of_regions())
def test_true_positives_first_are_the_best_order(regions: tuple[Integers, Bools]) -> None:
    images, hits = regions
    sorted_hits = np.argsort(~hits, kind="stable")
    best, given_order = evaluated(images[sorted_hits], hits[sorted_hits]), evaluated(images, hits)
    assert best.values[AVERAGE_PRECISION] == 1
    for key, value in given_order.values.items():
        assert np.isnan(value) or value <= best.values[key] + 1e-12 or key[0] == "region_wrong_images"


@given(lists_of_regions(), st.integers(1, 3))
def test_cap_reviews_at_most_so_many_regions_of_an_image(regions: tuple[Integers, Bools], cap: int) -> None:
    review = evaluated(*regions, cap).review
    assert review is not None
    kept = np.bincount(review.images)
    np.testing.assert_array_equal(kept, np.minimum(np.bincount(regions[0]), cap))
    assert evaluated(*regions, len(regions[0])).values == pytest.approx(evaluated(*regions).values, nan_ok=True)


def test_places_follow_key_then_evidence_then_rank() -> None:
    keys = np.array([1.0, 3.0, 1.0, np.nan, 1.0])
    evidence, ranks = np.array([5.0, 1.0, 7.0, 9.0, 5.0]), np.array([4, 0, 1, 2, 3])
    assert order_places(keys, evidence, ranks).tolist() == [3, 0, 1, 4, 2]


def test_order_without_regions_or_true_positives_reports_the_reason() -> None:
    none = evaluated(np.empty(0, np.int64), np.empty(0, bool))
    assert set(none.reasons.values()) == {"no region is listed"}
    assert none.review is none.curve is None
    clean = evaluated(np.arange(25), np.zeros(25, bool))
    assert clean.reasons[AVERAGE_PRECISION] == "no listed region is a true positive"
    assert (clean.values["region_precision", "20"], clean.values["region_wrong_images", "20"]) == (0, 0)


def test_resampling_of_many_regions_is_fast() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20_000, 100_000)
    reviews: dict[str, RegionReview] = {
        name: make_region_review(rng.permutation(100_000), images, rng.random(100_000) < 0.1) for name in ORDER_COLUMNS
    }
    wrong = np.zeros(20_000, bool)
    started = time.process_time()
    samples = resample({}, (), {}, wrong, None, np.zeros((20_000, 0), np.int64), reviews, 20, 0)
    assert time.process_time() - started < 2, "a thousand resamples would take more than 100 s"
    precision = samples.regions["priority"]["region_precision", "200"]
    assert len(set(precision.tolist())) > 10
    assert 0.05 < precision.mean() < 0.15


# ------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def planted_regions() -> PlantedErrors:
    return plant_errors(ignored_image=3)


@pytest.fixture(scope="module")
def many_regions(planted_regions: PlantedErrors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run that lists every flagged pixel, with columns of all orders and many ties; no test changes it."""
    run = run_planted(planted_regions, tmp_path_factory.mktemp("regions"), "--regions.min_area", 1)
    rewrite_regions(run, add_orders)
    return run


def rewrite_regions(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    for path in (run / "regions").glob("*.parquet"):
        pq.write_table(change(pq.read_table(path)), path)


def add_orders(table: pa.Table) -> pa.Table:
    rng = np.random.default_rng(5)
    for column in ("priority", "class_priority"):
        values = pa.array(rng.integers(0, 6, len(table)) / 4)
        present = column in table.column_names
        number = table.column_names.index(column) if present else len(table.column_names)
        table = table.set_column(number, column, values) if present else table.append_column(column, values)
    return table


def listed_regions(run: Path, wrong: Bools) -> list[reference.ListedRegion]:
    """Regions of the table, compared with the wrong pixels (N, H, W)."""
    regions = []
    for row in pq.read_table(run / "regions").to_pylist():
        pixels = reference.decode(row["rle"], row["height"])
        is_hit = reference.is_hit([bool(wrong[row["index"], y, x]) for y, x in pixels])
        keys = {name: row[column] for name, column in ORDER_COLUMNS.items()}
        regions.append(reference.ListedRegion(row["index"], is_hit, keys, row["rank"]))
    return regions


@pytest.mark.parametrize("per_image", [None, 2])
def test_measures_of_a_run_equal_plain_loops(
    per_image: int | None, many_regions: Path, planted_regions: PlantedErrors, tmp_path: Path
) -> None:
    args = () if per_image is None else ("--per_image", per_image)
    assert evaluate(many_regions, many_regions.parent / "right.zarr", tmp_path / "ev", *args) == 0
    regions = listed_regions(many_regions, planted_regions.wrong)
    for name in ORDER_COLUMNS:
        ordered = reference.review(regions, name, per_image)
        row = read_metric(tmp_path / "ev", f"regions by {name}", "region_average_precision")
        assert row["value"] == pytest.approx(reference.average_precision(ordered), abs=1e-12)
        assert (row["errors"], row["images"]) == (sum(region.is_hit for region in ordered), 23)
        assert row["low"] < row["value"] < row["high"]
        for count in (20, 50):
            if count > len(ordered):
                continue
            found = [read_metric(tmp_path / "ev", f"regions by {name}", m, str(count))["value"] for m in MEASURES[1:]]
            assert found == [reference.precision(ordered, count), reference.wrong_images(ordered, count)]
    assert len(reference.review(regions, "evidence", per_image)) >= 20, "a precision is compared"


def test_regions_are_measured_alike_by_error_masks(
    many_regions: Path, planted_regions: PlantedErrors, tmp_path: Path
) -> None:
    assert evaluate(many_regions, write_simulation(tmp_path / "sim", planted_regions), tmp_path / "a") == 0
    assert evaluate(many_regions, many_regions.parent / "right.zarr", tmp_path / "b") == 0
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")


def test_forgotten_pixels_make_an_omission_a_true_positive(tmp_path: Path) -> None:
    planted = plant_errors(images=12)
    given, right = planted.right.copy(), planted.right.copy()
    given[:] = right[:] = planted.data.predictions.argmax(axis=1)
    given[[5, 8], 2:12, 3:15] = 255  # forgotten
    forgotten = PlantedErrors(planted.data._replace(labels=given), right, given != right)
    run = run_planted(forgotten, tmp_path)
    kinds = [row["kind"] for row in pq.read_table(run / "regions").to_pylist() if row["index"] in (5, 8)]
    assert "omission" in kinds
    for truth in (tmp_path / "right.zarr", write_simulation(tmp_path / "sim", forgotten)):
        out = tmp_path / f"ev-{truth.name}"
        assert evaluate(run, truth, out) == 0
        assert read_metric(out, "regions by evidence", "region_average_precision")["errors"] == kinds.count("omission")


def test_regions_without_a_corrected_label_are_not_measured(
    many_regions: Path, planted_regions: PlantedErrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(many_regions / "regions")
    wrong = [region for region in listed_regions(many_regions, planted_regions.wrong) if region.is_hit]
    lost = wrong[0].image
    labels = planted_regions.right.copy()
    labels[lost] = 255
    write_dataset_source(tmp_path / "right.zarr", planted_regions.data._replace(labels=labels))
    capsys.readouterr()
    assert evaluate(many_regions, tmp_path / "right.zarr", tmp_path / "ev") == 0
    is_unknown = pc.and_(pc.equal(table["index"], lost), pc.equal(table["kind"], "label"))
    count = pc.sum(is_unknown).as_py()  # the pixels of an omission are ignored on both sides
    assert f"{count} listed regions are not measured: no corrected label is known in them." in capsys.readouterr().out
    row = read_metric(tmp_path / "ev", "regions by evidence", "region_average_precision")
    assert row["errors"] == sum(region.image != lost for region in wrong)


def test_padded_images_are_measured_within_their_size(tmp_path: Path) -> None:
    planted = plant_errors(images=12)
    write_dataset_source(tmp_path / "given.zarr", planted.data)
    write_dataset_source(tmp_path / "right.zarr", planted.data._replace(labels=planted.right))
    source = zarr.open_group(str(tmp_path / "given.zarr"), mode="r+")
    for name, size in (("height", 12), ("width", 15)):
        source.create_array(name, data=np.full(12, size, np.int32))
    args = ("--source", tmp_path / "given.zarr", "--out", tmp_path / "out", "--regions.min_area", 1)
    assert run_cli("run", *args) == 0
    rewrite_regions(tmp_path / "out", add_orders)
    assert evaluate(tmp_path / "out", tmp_path / "right.zarr", tmp_path / "ev") == 0
    ordered = reference.review(listed_regions(tmp_path / "out", planted.wrong), "evidence")
    row = read_metric(tmp_path / "ev", "regions by evidence", "region_average_precision")
    assert row["value"] == pytest.approx(reference.average_precision(ordered), abs=1e-12)


def test_measures_do_not_depend_on_block_size(
    many_regions: Path, planted_regions: PlantedErrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.engine.planning.layout.MIN_BLOCK_BYTES", 1 << 10)
    small = run_planted(planted_regions, tmp_path, "--regions.min_area", 1)
    rewrite_regions(small, add_orders)
    assert len(list((small / "manifest/score").iterdir())) > len(list((many_regions / "manifest/score").iterdir()))
    for name, run in (("a", many_regions), ("b", small)):
        assert evaluate(run, many_regions.parent / "right.zarr", tmp_path / name) == 0
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")


def test_orders_of_older_runs_are_left_out(
    many_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(many_regions, tmp_path / "old"))
    rewrite_regions(run, lambda table: table.drop_columns(["priority", "class_priority"]))
    capsys.readouterr()
    assert evaluate(run, many_regions.parent / "right.zarr", tmp_path / "ev") == 0
    note = "The table of regions has no priority and class_priority, as in older runs: these orders are not measured."
    assert note in capsys.readouterr().out
    orders = {row["score"] for row in read_metrics(tmp_path / "ev") if row["score"].startswith("regions by")}
    assert orders == {"regions by evidence"}


def test_orders_are_reported_drawn_and_summarized(
    many_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert evaluate(many_regions, many_regions.parent / "right.zarr", tmp_path / "ev") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("best order of regions")]
    metric = read_metric(tmp_path / "ev", "regions by evidence", "region_average_precision")
    assert line.startswith(f"best order of regions by AUPRC: evidence, {metric['value']:.3f} [")
    report = (tmp_path / "ev/report.md").read_text()
    assert report.count("| `regions by class` |") == 2
    assert "![Precision over reviewed regions](region_precision.png)" in report
    with Image.open(tmp_path / "ev/region_precision.png") as picture:
        assert min(picture.size) > 400
    curves: list[dict[str, Any]] = pq.read_table(tmp_path / "ev/curves.parquet").to_pylist()
    last = [row for row in curves if row["score"] == "regions by priority"][-1]
    assert (last["effort"], last["recall"]) == (1, 1)
