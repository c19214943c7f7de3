"""Study of scores on simulated errors: `PYTHONPATH=tests python -m benchmarks.study_scores [FOLDER] [SEEDS] [CAMVID]`.

There are two sources: CamVid, at the given path or next to the checkout, and the street scenes of the demo with the
predictions of the demo. Each is divided in the middle (the images of CamVid are frames of one drive, so that its halves
are two sections of it). Candidate scores are selected on the first half and tested on the second, together with the
scores of the package as `masksift.audit` computes them. A quarter of the images of a half gets an error of one type, by
seed. Statistics are those of the labels with errors, unless stated otherwise. Writes `study_scores.md` next to this
file.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

import masksift
from benchmarks.candidates import aggregates
from benchmarks.section import table
from benchmarks.study_data import BLIND, CAMVID, KEYS, load, prepare
from masksift.scoring.methods import METHODS

HERE = Path(__file__).parent
FEW = 2
"""Seeds per error for the candidates, which take ten times as long as the scores of the package."""
SHARPER, SOFTMIN, SOFTMIN_SHARPER = "softmin, T = 0.05", "1 - s | softmin 0.1", "1 - s | softmin 0.05"
Values = dict[tuple[str, str, str, int], tuple[float, float]]
"""(score, source, error, seed): AUROC, AUPRC."""


# ---------------------------------------------------------------------------------------------- what is compared


def compare_candidates(source: str, folder: Path, camvid: Path, second: bool, key: str, seed: int) -> Values:
    half = load(source, second, folder, camvid)
    labels, wrong = half.corrupt(key, seed)
    given, found = replace(half.right, labels=labels), {}
    for basis in (given, half.right):
        for name, images in given.suspicions(basis):
            every = [aggregates(values) for values in images]
            for how in every[0]:
                found[f"{name} | {how}", source, key, seed] = _measured(wrong, [each[how] for each in every])
    return found


def compare_scores(source: str, folder: Path, camvid: Path, second: bool, key: str, seed: int) -> Values:
    half = load(source, second, folder, camvid)
    labels, wrong = half.corrupt(key, seed)
    columns = {}
    for temperature, names in ((0.1, tuple(METHODS)), (0.05, ("softmin",))):
        images = masksift.audit(labels, half.predictions, ignore=255, methods=names, temperature=temperature).images
        columns |= {name if temperature == 0.1 else SHARPER: images[name].to_pylist() for name in names}
    return {
        (name, source, key, seed): _measured(wrong, [1 - score for score in column]) for name, column in columns.items()
    }


def _measured(wrong: NDArray[np.bool_], suspicion: list[float]) -> tuple[float, float]:
    return float(roc_auc_score(wrong, suspicion)), float(average_precision_score(wrong, suspicion))


# ---------------------------------------------------------------------------------------------------------- the page


def mean_value(found: Values, name: str, source: str | None = None, key: str | None = None, at: int = 0) -> float:
    return float(np.mean([v[at] for v in _cells(found, name, source, key).values()]))


def _cells(found: Values, name: str, source: str | None, key: str | None) -> dict[tuple[str, str, int], Any]:
    """Values of a score by source, error and seed; all errors but the blind spot if no key is passed."""
    return {
        (src, error, seed): values
        for (score, src, error, seed), values in found.items()
        if score == name and source in (None, src) and (error == key if key else error != BLIND)
    }


def margin(found: Values, name: str, reference: str, *, seeds: bool = False) -> str:
    """Mean difference of AUROC between two scores, its standard error, and the least difference."""
    score_cells, reference_cells = _cells(found, name, None, None), _cells(found, reference, None, None)
    groups: dict[Any, list[float]] = {}
    for place, values in score_cells.items():
        groups.setdefault(place[2] if seeds else place[:2], []).append(values[0] - reference_cells[place][0])
    means = [float(np.mean(values)) for values in groups.values()]
    error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else np.nan
    return f"{np.mean(means):+.3f} ± {error:.3f} (least {min(means):+.3f})"


def page(first: Values, second: Values, scores: Values, sources: tuple[str, ...]) -> str:
    best_names: dict[str, str] = {}
    for name in sorted({name for name, *_ in first}, key=lambda name: -mean_value(first, name)):
        best_names.setdefault(name.split(" | ")[0], name)
    shown = [*best_names.values(), *(name for name in (SOFTMIN, SOFTMIN_SHARPER) if name not in best_names.values())]
    columns = [*METHODS, SHARPER]
    drawn, again = (len({seed for *_, seed in found}) for found in (first, scores))
    text = [
        "# Scores on known errors",
        "Written by `PYTHONPATH=tests python -m benchmarks.study_scores`, whose docstring describes the method. "
        "Values are\nthe AUROC of 1 - score for the images with an error, a quarter of the images of a half at a time. "
        f"`{BLIND}` is not\npart of any mean: its pixels are not scored, except by omission. A half has 40 to 51 "
        "images, which are neighbors in\none drive or made by one program; errors of CamVid's annotators count as "
        "correct; and all errors of a half use the\nsame clean images, so that the standard error over errors is "
        "rather too small.",
        "## Candidates\n\nFor each evidence, the aggregation over an image that is best on the first halves "
        f"({drawn} draws). Differences from softmin\nwith T = 0.1: mean over sources and errors ± its standard error, "
        "and the least difference.",
        table(
            ["evidence: over an image", "first halves", "difference", "second halves", "difference"],
            [
                [
                    name.replace(" |", ":").removesuffix(": "),
                    *(
                        cell
                        for found in (first, second)
                        for cell in (f"{mean_value(found, name):.3f}", margin(found, name, SOFTMIN))
                    ),
                ]
                for name in shown
            ],
        ),
    ]
    for source in sources:
        rows = [[key, *(f"{mean_value(scores, name, source, key):.2f}" for name in columns)] for key in KEYS]
        rows += [
            [f"mean {what}", *(f"{mean_value(scores, name, source, at=at):.3f}" for name in columns)]
            for at, what in enumerate(("AUROC", "AUPRC"))
        ]
        text += [
            f"## {source}, second half: the package's scores\n\nMean of {again} draws.",
            table(["error", *columns], rows),
        ]
    text += [
        "## Difference from softmin, second halves\n\nDifferences of the package's scores from softmin with T = 0.1: "
        "mean over sources and errors ± its\nstandard error over the draws, and the least difference.",
        table(["score", "difference"], [[name, margin(scores, name, "softmin", seeds=True)] for name in columns]),
    ]
    return "\n\n".join(part.rstrip() for part in text) + "\n"


def main(folder: Path, seeds: int, camvid: Path) -> None:
    sources, found = prepare(folder, camvid), []
    with ProcessPoolExecutor(2) as pool:
        for work, second, some in (
            (compare_candidates, False, min(seeds, FEW)),
            (compare_candidates, True, min(seeds, FEW)),
            (compare_scores, True, seeds),
        ):
            every = [
                (src, folder, camvid, second, key, seed) for src in sources for key in KEYS for seed in range(some)
            ]
            parts = list(pool.map(work, *zip(*every, strict=True)))
            found.append({place: values for part in parts for place, values in part.items()})
    text = page(*found, sources)
    (HERE / "study_scores.md").write_text(text)
    print(text)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        Path(words[0] if words else "study-run"),
        int(words[1]) if len(words) > 1 else 3,
        Path(words[2]) if len(words) > 2 else CAMVID,
    )
