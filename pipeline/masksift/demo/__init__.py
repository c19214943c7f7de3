"""Demo data set: synthetic street scenes, known annotation errors and out-of-sample predictions.

    truth = make_demo("demo-run")                      # demo-run/source.zarr, demo-run/truth.csv
    found_at_top(ids_worst_first, truth)               # known errors among the first images of a ranking

Classifiers trained on the erroneous labels predict the images that they did not see.
"""

from __future__ import annotations

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

VERSION = 2
"""Increased when the same parameters give other bytes, so that older demos are replaced."""
SHARES = {"drop": 0.10, "swap": 0.15, "shift": 0.10}
"""Share of the images with each type of error, at least one image each."""
MIN_IMAGES = 6
MIN_SIZE_PIXELS = 32
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
    """Create the demo data set, `source.zarr` and `truth.csv`.

    `source.zarr` is a Zarr v3 group: `images` (N, H, W, 3), `labels` (N, H, W) with the errors, `predictions`
    (N, K, H, W), all uint8 (p = value / 255), and `image_id` (N,). `truth.csv` has a row per known error: image_id,
    kind, classes, changed_share. The same parameters give the same bytes on one machine, for any number of workers. A
    complete demo with the same parameters is reused, one with other parameters replaced. Incomplete data never have the
    final name.

    Args:
        folder: Local output directory.
        images: Number of images, at least 6.
        seed: Seed of scenes, errors and models.
        report: Called with one sentence per stage.
        height: Rows, even and at least 32.
        width: Columns, even and at least 32.
        workers: Threads.

    Returns:
        The data set and its known errors.

    Raises:
        ValueError: If the images are too few or too small.
    """
    if images < MIN_IMAGES or min(height, width) < MIN_SIZE_PIXELS or height % 2 or width % 2:
        raise ValueError(
            f"{images} images of {height} x {width} pixels are too few or too small for a demo. "
            f"Use at least {MIN_IMAGES} images of even height and width of at least {MIN_SIZE_PIXELS}."
        )
    from masksift.demo import store
    from masksift.demo.scenes.street import CLASS_NAMES

    folder = Path(folder)
    source, truth = folder / "source.zarr", folder / "truth.csv"
    parameters = {"version": VERSION, "images": images, "seed": seed, "height": height, "width": width}
    present = store.read_parameters(source)
    if present == parameters and truth.exists():
        report(f"reused {source}, which has the same parameters")
    else:
        if present is not None:
            report(f"replaced {source}, which has other parameters ({dict(present)})")
        _make(source, truth, parameters, workers, report)
    return DemoTruth(source, truth, CLASS_NAMES, store.read_image_ids(source), read_truth(truth, CLASS_NAMES))


def _draw(run: Run, parameters: Mapping[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw RGB images (N, H, W, 3) and their correct labels (N, H, W), uint8."""
    import numpy as np

    from masksift.demo.parallel import call
    from masksift.demo.scenes.scene import draw_scene

    count, height, width = (parameters[name] for name in ("images", "height", "width"))
    rgb_images, labels = np.empty((count, height, width, 3), np.uint8), np.empty((count, height, width), np.uint8)
    scenes = run(call(draw_scene, parameters["seed"], index, height, width) for index in range(count))
    for index, scene in enumerate(scenes):
        rgb_images[index], labels[index] = scene
    return rgb_images, labels


def _make(
    source: Path, truth: Path, parameters: Mapping[str, int], workers: int, report: Callable[[str], object]
) -> None:
    """Draw scenes, inject errors, predict and write, then rename the directory to its final name."""
    import numpy as np

    from masksift.demo import store
    from masksift.demo.inject_errors import inject_errors
    from masksift.demo.parallel import thread_pool
    from masksift.demo.predictions import train
    from masksift.demo.scenes.street import CLASS_NAMES, IGNORE

    count, seed = parameters["images"], parameters["seed"]
    counts = {kind: max(1, round(share * count)) for kind, share in SHARES.items()}
    ids = [f"scene_{index:04d}" for index in range(count)]
    stages = _StageTimer(report)
    with thread_pool(workers) as run, store.replace_when_complete(source, [truth]) as temporary:
        rgb_images, correct = _draw(run, parameters)
        stages.report_stage(f"drew {count} street scenes")
        labels, known = inject_errors(correct, counts, np.random.default_rng([seed, 0xE7707]))
        stages.report_stage(
            "injected " + ", ".join(f"{number} {kind}" for kind, number in counts.items()) + " errors in their labels"
        )
        models = train(rgb_images, labels, len(CLASS_NAMES), seed=seed, folds=FOLDS, run=run)
        stages.report_stage(f"trained {FOLDS} models on them, each without one fold of the images")
        store.write_source(
            temporary,
            images=rgb_images,
            labels=labels,
            predictions=models.predictions(rgb_images, run),
            image_ids=ids,
            class_names=CLASS_NAMES,
            ignore=IGNORE,
            parameters=parameters,
        )
        write_truth(temporary / truth.name, {ids[index]: error for index, error in known.items()}, CLASS_NAMES)
        stages.report_stage("predicted each image by the model that did not see it")
    report(f"wrote {source} and {truth}")


class _StageTimer:
    """Report stages with the time since the previous one."""

    def __init__(self, report: Callable[[str], object]) -> None:
        self._report, self._since = report, time.monotonic()

    def report_stage(self, stage: str) -> None:
        now = time.monotonic()
        self._report(f"{stage} ({now - self._since:.1f} s)")
        self._since = now
