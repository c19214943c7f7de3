"""The data set of `make demo`: street scenes drawn by rule, known annotation errors, out-of-sample predictions.

    truth = make_demo("demo-run")                      # demo-run/source.zarr, demo-run/truth.csv
    found_at_top(ids_worst_first, truth)               # how many known errors a ranking puts first

The predictions come from classifiers trained there and then on the erroneous labels, each image by a model that never
saw it. scikit-learn and scipy are needed for that: `pip install "masksift[demo]"`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from masksift.demo.known_errors import DemoTruth, FoundAtTop, KnownError, found_at_top, read_truth, write_truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from masksift.demo.parallel import Run

__all__ = ["DemoTruth", "FoundAtTop", "KnownError", "found_at_top", "make_demo"]

VERSION = 1
"""Raised when other bytes come out for the same parameters: an older demo is then made anew."""
SHARES = {"drop": 0.10, "swap": 0.15, "shift": 0.10}
"""Share of the images that get each kind of error (rounded, at least one image each)."""
LEAST_IMAGES = 6
LEAST_SIZE = 32
FOLDS = 4


def make_demo(
    folder: str | Path,
    *,
    images: int = 60,
    seed: int = 0,
    report: Callable[[str], object] = print,
    height: int = 256,
    width: int = 512,
    workers: int = 2,
) -> DemoTruth:
    """Make the demo data set in `folder` (local disk): `source.zarr` and `truth.csv`, and say what is wrong in it.

    `source.zarr` is a Zarr v3 group: `images` (N, H, W, 3), `labels` (N, H, W) with the errors in them, `predictions`
    (N, K, H, W), all uint8 (p = value / 255), and `image_id` (N,). `truth.csv` has a row for each known error:
    image_id, kind, classes, changed_share. Deterministic for given parameters on one machine, for any number of
    `workers` (processes). A finished demo with the same parameters is used as it is; one with others is replaced.
    Half-finished ones never stand under the final name. `report` gets one sentence a stage.

    Raises ImportError without scikit-learn and scipy, ValueError for fewer than 6 images or a height or width that is
    odd or below 32, UsageError when `source.zarr` is there and not a demo.
    """
    if images < LEAST_IMAGES or min(height, width) < LEAST_SIZE or height % 2 or width % 2:
        raise ValueError(
            f"{images} images of {height} x {width} pixels make no demo; there would be too little to learn from; "
            f"give at least {LEAST_IMAGES} images of even height and width from {LEAST_SIZE} on"
        )
    _require_extra()
    from masksift.demo import store
    from masksift.demo.scenes.street import CLASS_NAMES

    folder = Path(folder)
    source, truth = folder / "source.zarr", folder / "truth.csv"
    parameters = {"version": VERSION, "images": images, "seed": seed, "height": height, "width": width}
    present = store.parameters_of(source)
    if present == parameters and truth.exists():
        report(f"{source} is there, made with the same parameters: used as it is.")
    else:
        if present is not None:
            report(f"{source} was made with other parameters ({dict(present)}): replaced.")
        _make(source, truth, parameters, workers, report)
    return DemoTruth(source, truth, CLASS_NAMES, store.image_ids_of(source), read_truth(truth, CLASS_NAMES))


def _require_extra() -> None:
    for name in ("scipy", "sklearn", "joblib", "threadpoolctl"):
        try:
            importlib.import_module(name)
        except ImportError as e:
            raise ImportError(
                f"the demo trains a classifier of its own and {name} is not installed; without it there are no "
                'predictions to look for errors with; install it with: pip install "masksift[demo]"'
            ) from e


def _draw(run: Run, parameters: Mapping[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures (N, H, W, 3) and their correct labels (N, H, W), uint8."""
    import numpy as np

    from masksift.demo.parallel import call
    from masksift.demo.scenes.scene import draw_scene

    count, height, width = (parameters[name] for name in ("images", "height", "width"))
    pictures, labels = np.empty((count, height, width, 3), np.uint8), np.empty((count, height, width), np.uint8)
    scenes = run(call(draw_scene, parameters["seed"], index, height, width) for index in range(count))
    for index, scene in enumerate(scenes):
        pictures[index], labels[index] = scene
    return pictures, labels


def _make(
    source: Path, truth: Path, parameters: Mapping[str, int], workers: int, report: Callable[[str], object]
) -> None:
    """Draw, err, predict, write; then give it its name."""
    import numpy as np

    from masksift.demo import store
    from masksift.demo.inject_errors import plant
    from masksift.demo.parallel import processes
    from masksift.demo.predictions import train
    from masksift.demo.scenes.street import CLASS_NAMES, IGNORE

    count, seed = parameters["images"], parameters["seed"]
    counts = {kind: max(1, round(share * count)) for kind, share in SHARES.items()}
    ids = [f"scene_{index:04d}" for index in range(count)]
    clock = _Clock(report)
    with processes(workers) as run, store.in_place_of(source, [truth]) as fresh:
        pictures, correct = _draw(run, parameters)
        clock.say(f"drew {count} street scenes")
        labels, known = plant(correct, counts, np.random.default_rng([seed, 0xE7707]))
        clock.say(
            "planted " + ", ".join(f"{number} {kind}" for kind, number in counts.items()) + " errors in their labels"
        )
        models = train(pictures, labels, len(CLASS_NAMES), seed=seed, folds=FOLDS, run=run)
        clock.say(f"trained {FOLDS} models on them, each without a part of the images")
        store.write_source(
            fresh,
            images=pictures,
            labels=labels,
            predictions=models.predictions(pictures, run),
            image_ids=ids,
            class_names=CLASS_NAMES,
            ignore=IGNORE,
            parameters=parameters,
        )
        write_truth(fresh / truth.name, {ids[index]: error for index, error in known.items()}, CLASS_NAMES)
        clock.say("predicted each image by the model that never saw it")
    report(f"wrote {source} and {truth}")


class _Clock:
    """Says what was done and how long it took since the last time."""

    def __init__(self, report: Callable[[str], object]) -> None:
        self._report, self._since = report, time.monotonic()

    def say(self, done: str) -> None:
        now = time.monotonic()
        self._report(f"{done} ({now - self._since:.1f} s)")
        self._since = now
