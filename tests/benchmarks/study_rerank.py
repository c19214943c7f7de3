"""Study of `masksift rerank` on simulated errors.

    PYTHONPATH=tests python -m benchmarks.study_rerank [FOLDER] [SEEDS]

The sources are those of `benchmarks.study_scores`: CamVid, if it is next to the checkout, and street scenes of the
demo. 30 % of the images get an error of one type, by seed. A region has a wrong label if the error changed at least
half of its pixels. The first regions of the run's order are decided by that truth; the rest is reordered, and the
errors among the next 200 regions are counted in both orders. Writes `study_rerank.md` next to this file.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from benchmarks.section import table
from benchmarks.study_scores import CAMVID, DEMO_SEED, HEIGHT, KEYS, WIDTH
from masksift.demo import make_demo
from masksift.demo.scenes.scene import draw_scene
from masksift.review.rerank import command
from masksift.review.rerank.config import RerankConfig
from support.cli import run_cli

HERE = Path(__file__).parent
DEMO_IMAGES = 120
SHARE = 0.3
ERRORS = (
    *("drop", "drop, one object", "drop, ignore", "swap", "swap, one object", "shift", "shift, one object"),
    *("boundary", "coarse", "missing_region"),
)
BACKGROUND = "building"
DECIDED = (50, 100, 200, 400)
"""Numbers of decided regions."""
NEXT = 200
ENOUGH = command.MIN_DECISIONS
RARE = ((1, 2), (3, 4), (5, 9), (10, 14), (15, 19), (20, 1000))
"""Ranges of the number of decisions of the rarer kind."""


@dataclass(frozen=True)
class Case:
    """One reordering: errors among the next regions in each order, among all that remain, and as expected."""

    source: str
    error: str
    seed: int
    decided: int
    rarer: int
    priority: int
    by_class: int
    reranked: int
    left: int
    expected: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        return self.reranked / self.priority if self.priority else np.inf


def prepare(folder: Path) -> dict[str, Path]:
    """Write the demo's source with its right labels; return the available sources."""
    demo = folder / "demo" / "source.zarr"
    if not demo.exists():
        make_demo(folder / "demo", images=DEMO_IMAGES, seed=DEMO_SEED, height=HEIGHT, width=WIDTH)
        right = np.stack([draw_scene(DEMO_SEED, index, HEIGHT, WIDTH)[1] for index in range(DEMO_IMAGES)])
        zarr.open_array(demo / "labels", mode="r+")[...] = right
    return {"CamVid": CAMVID, "demo": demo} if CAMVID.exists() else {"demo": demo}


def make_run(source: Path, error: str, seed: int, out: Path) -> NDArray[np.bool_]:
    """Complete a run over labels with errors; return for each of its regions whether the label is wrong."""
    if not (out / "wrong.npy").exists():
        shutil.rmtree(out, ignore_errors=True)
        kind, objects, fill = KEYS[error]
        extra = ("--background", BACKGROUND) if fill == "background" else ("--objects", objects)
        extra += ("--fill", fill) if fill == "ignore" else ()
        changed = out.with_suffix(".labels")
        args = ("--share", SHARE, "--seed", seed, *extra)
        assert run_cli("simulate", kind, "--source", source, "--out", changed, *args) == 0
        labels = ("--labels_from", changed / "labels", "--report.top", 0)
        assert run_cli("run", "--source", source, "--out", out, *labels) == 0
        paths = source / "labels", changed / "labels" / source.name / "labels"
        right, given = (np.asarray(zarr.open_array(path, mode="r")[...]) for path in paths)
        np.save(out / "wrong.npy", _wrong_regions(out, right != given))
        for unused in (changed, out / "evidence"):
            shutil.rmtree(unused)
    wrong: NDArray[np.bool_] = np.load(out / "wrong.npy")
    return wrong


def _wrong_regions(out: Path, changed: NDArray[np.bool_]) -> list[bool]:
    counts = {index: np.append(0, np.cumsum(image.T)) for index, image in enumerate(changed)}
    rows = pq.read_table(out / "regions", columns=["index", "area", "rle"]).to_pylist()
    wrong = []
    for row in rows:
        ends = np.cumsum(row["rle"])
        count = counts[row["index"]]
        wrong.append(2 * (count[ends[1::2]] - count[ends[:-1:2]]).sum() >= row["area"])
    return wrong


def decide(out: Path, wrong: NDArray[np.bool_], decided: int) -> Path:
    """Write decisions on the first regions of a run."""
    rows = pq.read_table(out / "regions", columns=["rank", "image_id", "source", "index"]).slice(0, decided).to_pylist()
    verdicts = [
        {"verdict": "accept" if is_wrong else "reject", "region": {"rank": row.pop("rank")}, **row}
        for row, is_wrong in zip(rows, wrong.tolist(), strict=False)
    ]
    fingerprint = json.loads((out / "run.json").read_text())["fingerprint"]
    file = out / "verdicts.json"
    file.write_text(json.dumps({"format": 1, "run": fingerprint, "verdicts": verdicts}))
    return file


def cases(name: str, source: Path, folder: Path, seeds: Sequence[int]) -> Iterator[Case]:
    """Reorder the regions of every error type, seed and number of decisions."""
    for error in ERRORS:
        for seed in seeds:
            out = folder / f"{name}-{error.replace(', ', '-').replace(' ', '-')}-{seed}"
            wrong = make_run(source, error, seed, out)
            for decided in DECIDED:
                accepted = int(wrong[:decided].sum())
                rarer = min(accepted, decided - accepted)
                result = command.rerank(RerankConfig(run=str(out), verdicts=str(decide(out, wrong, decided)), top=0))
                if result.order is None:
                    continue
                ranks = pq.read_table(result.url, columns=["old_rank", "class_priority"])
                new = wrong[ranks["old_rank"].to_numpy() - 1]
                by_class = new[np.argsort(-ranks["class_priority"].to_numpy(), kind="stable")]
                expected = result.order.expected
                counts = [int(one[:NEXT].sum()) for one in (wrong[decided:], by_class, new)]
                estimate = expected.count, expected.low, expected.high
                yield Case(name, error, seed, decided, rarer, *counts, int(new.sum()), *estimate)


def main(folder: Path, seeds: Sequence[int]) -> None:
    """Write the tables."""
    command.MIN_DECISIONS = 1  # to measure which number is enough
    folder.mkdir(parents=True, exist_ok=True)
    found = [case for name, source in prepare(folder).items() for case in cases(name, source, folder, seeds)]
    text = "\n\n".join(
        [
            f"# Reordering by decisions\n\n`PYTHONPATH=tests python -m benchmarks.study_rerank`, {len(seeds)} seeds.",
            f"Wrong labels among the next {NEXT} regions after 50 decisions, summed over the seeds.\n",
            by_error([case for case in found if case.decided == 50]),
            "Ratio of both orders by the number of decisions of the rarer kind, whatever the number of decisions.\n",
            by_rarer(found),
            "Wrong labels among all regions that remain.\n",
            by_decided(found),
        ]
    )
    (HERE / "study_rerank.md").write_text(f"{text}\n")


def by_error(found: Sequence[Case]) -> str:
    groups = dict.fromkeys((case.source, case.error) for case in found)
    rows = []
    for source, error in groups:
        group = [case for case in found if (case.source, case.error) == (source, error)]
        sums = [sum(getattr(case, order) for case in group) for order in ("priority", "by_class", "reranked")]
        rarer = ", ".join(str(case.rarer) for case in group)
        lowest = min(case.ratio for case in group)
        rows.append((source, error, rarer, *map(str, sums), f"{sums[2] / sums[0]:.2f}", f"{lowest:.2f}"))
    head = ("source", "error", "rarer kind", "by priority", "by class", "reranked", "ratio", "lowest ratio")
    return table(head, rows)


def by_rarer(found: Sequence[Case]) -> str:
    rows = []
    for source in dict.fromkeys(case.source for case in found):
        for low, high in RARE:
            ratios = np.array([c.ratio for c in found if c.source == source and low <= c.rarer <= high])
            if len(ratios):
                shares = [f"{np.mean(ratios >= limit):.0%}" for limit in (1, 1.3)]
                label = f"{low} or more" if high == RARE[-1][1] else f"{low} to {high}"
                rows.append(
                    (source, label, str(len(ratios)), f"{np.median(ratios):.2f}", f"{ratios.min():.2f}", *shares)
                )
    head = ("source", "rarer kind", "cases", "median ratio", "lowest", "at least 1", "at least 1.3")
    return table(head, rows)


def by_decided(found: Sequence[Case]) -> str:
    rows = []
    for source in dict.fromkeys(case.source for case in found):
        for decided, enough in product(DECIDED, (False, True)):
            group = [case for case in found if (case.source, case.decided) == (source, decided)]
            group = [case for case in group if (case.rarer >= ENOUGH) == enough]
            if group:
                ratios = np.array([case.expected / max(case.left, 1) for case in group])
                inside = np.mean([case.low <= case.left <= case.high for case in group])
                width = np.median([case.high / max(case.low, 1) for case in group])
                quantiles = [f"{value:.2f}" for value in np.quantile(ratios, [0.1, 0.5, 0.9])]
                label = f"{ENOUGH} or more" if enough else f"1 to {ENOUGH - 1}"
                rows.append((source, decided, label, len(group), *quantiles, f"{inside:.0%}", f"{width:.1f}"))
    estimates = ("expected / true, 10 %", "median", "90 %", "inside the interval", "high / low")
    return table(("source", "decisions", "rarer kind", "cases", *estimates), rows)


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "study-rerank"),
        range(1, 1 + int(sys.argv[2] if len(sys.argv) > 2 else 3)),
    )
