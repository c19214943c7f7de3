"""Study of region orders and scores: `PYTHONPATH=tests python -m benchmarks.study_orders [FOLDER] [SEEDS] [CAMVID]`.

The sources are those of `study_scores`: CamVid, at the given path or next to the checkout, and the demo, each divided
in the middle. Besides the predictions of the source there are those of two cross-validated pixel classifiers, a weak
and a strong one. Every error of `simulate` is put into 20 % of the images of a half, and for the predictions of the
source also into 2, 5 and 40 %. `masksift.audit` lists the regions and scores the images. Nothing is selected here, so
that both halves are shown; the self-confidence that stands for that of an omission was chosen on both. Intervals are
the middle 95 % of 200 resamples of the images of a half, the same for all errors and seeds, of the mean over errors and
seeds. Writes `study_orders.md` next to this file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import masksift
from benchmarks.section import table
from benchmarks.study_data import CAMVID, GIVEN, KEYS, MODELS, cross_validate, load, prepare
from masksift.evaluation.evaluate.bootstrap import iter_weights, percentile_interval
from masksift.evaluation.evaluate.listed_regions import ORDER_COLUMNS, order_places
from masksift.evaluation.evaluate.metrics import average_precision, cumulate, sort_by_score
from masksift.evaluation.evaluate.region_orders import AVERAGE_PRECISION, evaluate_order
from masksift.review.export.run_length import box_mask
from masksift.scoring.methods import score_names
from masksift.scoring.region_priority import priority_alone

Floats = NDArray[np.float64]

HERE = Path(__file__).parent
RATE, RATES = 0.2, (0.02, 0.05, 0.2, 0.4)
"""Share of the images with an error, in the main tables and in those over the share."""
RESAMPLES = 200
FORGOTTEN, MIXED = "drop, ignore", "drop, ignore + swap"
WHOLE = ("drop", "swap", "shift")
LOCAL = ("missing_region", "coarse", "boundary", *(key for key in KEYS if key.endswith("one object")))
GROUPS: Mapping[str, Sequence[str]] = {"whole classes": WHOLE, "local errors": LOCAL}
"""Errors by group: mean over drop, swap and shift; mean over parts of the image and single objects."""
ORDERS = ("evidence", "priority", "class")


def _priority_of_omissions(own: float, evidence: Floats, confidence: Floats) -> Floats:
    """Priority of regions with a self-confidence of ``own``, whose pair of classes occurs nowhere else."""
    return priority_alone(evidence, np.full(len(evidence), own), confidence)


OMISSIONS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "last": lambda evidence, _: np.full(len(evidence), -1.0),
    "by evidence": lambda evidence, _: evidence,
    **{f"self-confidence {own:g}": partial(_priority_of_omissions, own) for own in (0.1, 0.15, 0.2, 0.3)},
}
"""Other priorities of omissions, from evidence and mean predicted confidence; label regions keep theirs."""


@dataclass(frozen=True)
class Case:
    """Source, model, half, error, share of the images, seed."""

    source: str
    model: str
    second: bool
    key: str
    share: float
    seed: int


@dataclass(frozen=True)
class Measured:
    """Values of one case: AUPRC of scores and orders with resamples (R,), and counts of the first regions."""

    areas: Mapping[str, float]
    resampled: Mapping[str, Floats]
    precision: Mapping[str, float]
    images: Mapping[str, float]


Found = dict[Case, Measured]


def measure(folder: Path, camvid: Path, case: Case) -> Measured:
    half = load(case.source, case.second, folder, camvid, case.model)
    labels, wrong_images = half.corrupt(case.key, case.seed, case.share)
    audit = masksift.audit(labels, half.predictions, ignore=255, progress=False)
    weights = list(iter_weights(len(labels), RESAMPLES, 0))
    areas: dict[str, float] = {}
    resampled: dict[str, Floats] = {}
    precision: dict[str, float] = {}
    images: dict[str, float] = {}
    for name in score_names():
        review = sort_by_score(audit.images[name].to_numpy(), wrong_images)
        areas[name] = average_precision(cumulate(review))
        resampled[name] = np.array([average_precision(cumulate(review, one)) for one in weights])
    rows, wrong = audit.regions.to_pylist(), labels != half.labels
    image = np.array([row["index"] for row in rows])
    is_hit = np.array([_is_hit(row, wrong[row["index"]]) for row in rows])
    evidence = audit.regions["evidence"].to_numpy()
    for name, keys in order_keys(audit.regions).items():
        evaluation = evaluate_order(order_places(keys, evidence, np.arange(len(rows))), image, is_hit, None)
        assert evaluation.review is not None, "regions are listed"
        areas[name] = evaluation.values[AVERAGE_PRECISION]
        precision[name] = evaluation.values["region_precision", "50"]
        images[name] = evaluation.values["region_wrong_images", "100"]
        resampled[name] = np.array([evaluation.review.metrics(one)[AVERAGE_PRECISION] for one in weights])
    return Measured(areas, resampled, precision, images)


def order_keys(regions: Any) -> dict[str, Floats]:
    """Values of the regions in each order, and in the order by priority with other priorities of omissions."""
    columns = {name: regions[column].to_numpy() for name, column in ORDER_COLUMNS.items()}
    is_omission = np.array(regions["kind"].to_pylist()) == "omission"
    confidence = regions["mean_predicted_confidence"].to_numpy()
    others = {name: place(columns["evidence"], confidence) for name, place in OMISSIONS.items()}
    return columns | {name: np.where(is_omission, keys, columns["priority"]) for name, keys in others.items()}


def _is_hit(region: Mapping[str, Any], wrong: NDArray[np.bool_]) -> bool:
    """At least half of the pixels of a region are wrong."""
    y0, x0, y1, x1 = (region[name] for name in ("y0", "x0", "y1", "x1"))
    inside = box_mask(np.array(region["rle"]), region["height"], (y0, x0, y1, x1))
    return bool(2 * np.count_nonzero(inside & wrong[y0:y1, x0:x1]) >= region["area"])


# ---------------------------------------------------------------------------------------------------------- the page


@dataclass(frozen=True)
class Mean:
    """Mean over errors and seeds, and its values in the resamples (R,)."""

    value: float
    resampled: Floats

    def over(self, other: Mean) -> Mean:
        return Mean(self.value / other.value, self.resampled / other.resampled)

    def minus(self, other: Mean) -> Mean:
        return Mean(self.value - other.value, self.resampled - other.resampled)

    def text(self, digits: int = 3, *, signed: bool = False) -> str:
        interval = percentile_interval(self.resampled)
        form = f"{'+' if signed else ''}.{digits}f"
        return f"{self.value:{form}}" + (f" [{interval.low:{form}}, {interval.high:{form}}]" if interval else "")


def mean_area(found: Found, name: str, cases: Sequence[Case]) -> Mean:
    """Mean AUPRC of a score or an order over cases; a resample counts the cases in which it has an error."""
    resampled = np.array([found[case].resampled[name] for case in cases])
    defined = np.isfinite(resampled)
    sums, counts = np.where(defined, resampled, 0).sum(axis=0), defined.sum(axis=0)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    values = np.array([found[case].areas[name] for case in cases])
    return Mean(float(values[np.isfinite(values)].mean()), means)


def mean_count(counts: Iterable[float]) -> float:
    values = np.array(list(counts))
    return float(values[np.isfinite(values)].mean())


def select(found: Found, keys: Sequence[str], **fields: Any) -> list[Case]:
    return [
        case
        for case in found
        if case.key in keys and all(getattr(case, name) == value for name, value in fields.items())
    ]


def half_name(second: bool) -> str:
    return "second" if second else "first"


def order_table(found: Found, sources: Sequence[str], group: str) -> str:
    """AUPRC of the orders by source, model and half, and their ratios to the order by evidence."""
    rows = []
    for source, model, second in product(sources, (GIVEN, *MODELS), (False, True)):
        cases = select(found, GROUPS[group], source=source, model=model, second=second, share=RATE)
        areas = {name: mean_area(found, name, cases) for name in ORDERS}
        ratios = [areas[name].over(areas["evidence"]).text(2) for name in ORDERS[1:]]
        counts = [
            " / ".join(f"{mean_count(getattr(found[c], field)[name] for c in cases):.{digits}f}" for name in ORDERS)
            for field, digits in (("precision", 2), ("images", 1))
        ]
        rows.append([source, model, half_name(second), *(areas[n].text() for n in ORDERS), *ratios, *counts])
    names = [f"{name} / evidence" for name in ORDERS[1:]]
    return table(["source", "model", "half", *ORDERS, *names, "precision of 50", "wrong images in 100"], rows)


def error_table(found: Found, sources: Sequence[str]) -> str:
    """AUPRC of the orders by error, with the predictions of the source, first and second half."""
    rows = []
    for source, key in product(sources, [*KEYS, MIXED]):
        values = [
            mean_area(found, name, select(found, [key], source=source, model=GIVEN, second=second, share=RATE)).value
            for name, second in product(ORDERS, (False, True))
        ]
        pairs = zip(values[::2], values[1::2], strict=True)
        rows.append([source, key, *(f"{first:.3f} / {second:.3f}" for first, second in pairs)])
    return table(["source", "error", *ORDERS], rows)


def rate_table(found: Found, sources: Sequence[str]) -> str:
    """AUPRC of the orders, and of two scores, over the share of images with an error; second halves."""
    rows = []
    for source, (group, keys), share in product(sources, GROUPS.items(), RATES):
        cases = select(found, keys, source=source, model=GIVEN, second=True, share=share)
        names = [*ORDERS, "softmin", "combined"]
        rows.append([source, group, f"{share:.0%}", *(mean_area(found, name, cases).text() for name in names)])
    return table(["source", "errors", "share", *ORDERS, "images: softmin", "images: combined"], rows)


def omission_table(found: Found, sources: Sequence[str], second: bool) -> str:
    """AUPRC of the whole list by the priority of omissions, without and with forgotten objects."""
    columns = {"drop, swap, shift": WHOLE, FORGOTTEN: [FORGOTTEN], MIXED: [MIXED]}
    rows = []
    for name in ("priority", *OMISSIONS):
        cells = [
            mean_area(found, name, select(found, keys, source=source, model=GIVEN, second=second, share=RATE)).value
            for source, keys in product(sources, columns.values())
        ]
        rows.append([name, *(f"{value:.3f}" for value in cells), f"{np.mean(cells):.3f}"])
    titles = [f"{source}: {title}" for source, title in product(sources, columns)]
    return table(["omissions", *titles, "mean"], rows)


def score_table(found: Found, sources: Sequence[str], group: str) -> str:
    """AUPRC of the image scores on the second halves, and the difference of the combined score from softmin."""
    rows = []
    for source, model in product(sources, (GIVEN, *MODELS)):
        cases = select(found, GROUPS[group], source=source, model=model, second=True, share=RATE)
        areas = {name: mean_area(found, name, cases) for name in score_names()}
        difference = areas["combined"].minus(areas["softmin"]).text(signed=True)
        rows.append([source, model, *(f"{areas[name].value:.3f}" for name in areas), difference])
    return table(["source", "model", *score_names(), "combined - softmin"], rows)


def page(found: Found, sources: Sequence[str]) -> str:
    seeds = len({case.seed for case in found})
    text = [
        "# Region orders and scores on known errors",
        "Written by `PYTHONPATH=tests python -m benchmarks.study_orders`, whose docstring describes the method. "
        "A region is a\ntrue positive if at least half of its pixels have an error. Values are average precision "
        f"(AUPRC), mean over errors and\n{seeds} seeds, in brackets 95 % bootstrap intervals over images. Natural "
        "errors of CamVid's annotations count as correct.",
    ]
    for group, keys in GROUPS.items():
        text += [f"## Orders of regions: {group}\n\n{', '.join(keys)}; {RATE:.0%} of the images."]
        text += [order_table(found, sources, group)]
    text += ["## Orders of regions by error\n\nPredictions of the source, first / second half."]
    text += [error_table(found, sources)]
    text += ["## Share of the images with an error\n\nPredictions of the source, second halves."]
    text += [rate_table(found, sources)]
    for second in (False, True):
        text += [
            f"## Priority of omissions, {half_name(second)} halves\n\nAUPRC of the list of all regions, by priority, "
            f"with predictions of the source. In `{MIXED}` half of the wrong\nimages have each error."
        ]
        text += [omission_table(found, sources, second)]
    for group in GROUPS:
        text += [f"## Scores of images: {group}\n\nSecond halves, {RATE:.0%} of the images."]
        text += [score_table(found, sources, group)]
    return "\n\n".join(part.rstrip() for part in text) + "\n"


def all_cases(sources: Sequence[str], seeds: int) -> list[Case]:
    halves, numbers, used = (False, True), range(seeds), [*WHOLE, *LOCAL]
    main = product(sources, (GIVEN, *MODELS), halves, [*KEYS, MIXED], [RATE], numbers)
    rates = product(sources, [GIVEN], [True], used, [share for share in RATES if share != RATE], numbers)
    return [Case(*fields) for fields in (*main, *rates)]


def main(folder: Path, seeds: int, camvid: Path) -> None:
    sources = prepare(folder, camvid)
    for source, model in product(sources, MODELS):
        cross_validate(source, model, folder, camvid)
    cases = all_cases(sources, seeds)
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(partial(measure, folder, camvid), cases), strict=True))
    text = page(found, sources)
    (HERE / "study_orders.md").write_text(text)
    print(text)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        Path(words[0] if words else "study-run"),
        int(words[1]) if len(words) > 1 else 2,
        Path(words[2]) if len(words) > 2 else CAMVID,
    )
