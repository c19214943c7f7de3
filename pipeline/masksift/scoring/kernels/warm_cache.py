"""Compile the kernels for every precision ahead of time: `python -m masksift.scoring.kernels.warm_cache`.

Numba caches compiled code next to the package, or in the user's cache directory if the package is read-only.
"""

from __future__ import annotations

import numpy as np

from masksift.scoring.kernels.components import component_means
from masksift.scoring.kernels.condense import (
    BadPixel,
    CondenseConfig,
    class_plane,
    condense_whole_images,
    condense_window,
)
from masksift.scoring.kernels.decode import resize_rows
from masksift.scoring.kernels.differences import find_differences, restore_planes
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ensemble import accumulate_member, member_config
from masksift.scoring.kernels.flags import count_reached, flag_pixels, softmin_sums
from masksift.scoring.kernels.ignored_pixels import confidence_by_class
from masksift.scoring.kernels.label_grids import GRID_SIDE, find_transforms, sample_grids
from masksift.scoring.kernels.pixel_statistics import add_low_bit_counts, count_at_least, count_pixels
from masksift.scoring.kernels.regions import OmissionRule, find_regions


def warm_cache() -> None:
    """Run every kernel once on a few pixels, in each precision."""
    given = np.array([[0, 1, 2, 255]] * 4, np.uint8)
    labels, _ = class_plane(given, 3, (255,))
    class_plane(given.astype(np.uint16), 3, (255,))
    probabilities = np.full((3, 4, 4), 1 / 3)
    for dtype in ("uint8", "uint16", "float16", "float32", "float64"):
        scale = 1 / np.iinfo(dtype).max if dtype.startswith("uint") else 1.0
        for stored in ("float16", "float32") if dtype in ("float32", "float64") else (dtype,):
            evidence = Encoding(stored, scale)
            config = CondenseConfig(3, dtype, scale, "probabilities", evidence, 0.05, 4)
            predictions = np.rint(probabilities / scale) if scale < 1 else probabilities
            window = condense_window(predictions.astype(dtype), labels, config)
            assert not isinstance(window, BadPixel), window
            _score(labels, window.predicted_class, window.self_confidence, window.predicted_confidence, evidence)
    total = np.zeros((3, 4, 4), np.float32)
    for dtype in ("uint8", "uint16"):  # float16 has the codes of uint16
        scale = 1 / np.iinfo(dtype).max
        member = np.rint(probabilities / scale).astype(dtype)
        accumulate_member(member, labels, member_config(3, dtype, scale, "probabilities", 0.05), total, first=True)
    logits = CondenseConfig(3, "float32", 1.0, "logits", Encoding("float16"), 0.05, 4)
    condense_window(probabilities.astype(np.float32), labels, logits)
    numbers = np.empty((2, 1, 4, 4), np.uint16)
    planes = (numbers[0], labels[np.newaxis].copy(), numbers[1])
    condense_whole_images(
        probabilities.astype(np.float32)[np.newaxis], labels[np.newaxis], logits, planes, np.zeros(1, np.uint8)
    )
    for number in (np.uint8(0), np.uint16(0)):
        plane = np.full((1, GRID_SIDE, GRID_SIDE), number)
        find_transforms(sample_grids(plane, plane, np.full((1, 2), GRID_SIDE)), np.zeros(1, np.int64))
    resize_rows(total, 0, (4, 4), (6, 6), 0, np.empty((3, 6, 6), np.float32))


def _score(labels: np.ndarray, winner: np.ndarray, own: np.ndarray, best: np.ndarray, encoding: Encoding) -> None:
    limits = np.full(3, 1, np.int64)
    flat = (labels.reshape(-1), winner.reshape(-1))
    labels, winner, own, best = (plane[np.newaxis] for plane in (labels, winner, own, best))
    count_pixels(labels, winner, own, best, encoding, 3)
    flag_pixels(labels, winner, own, best, encoding, 3, 100)
    count_at_least(*flat, best.reshape(-1), limits)
    confidence_by_class(labels, winner, best, encoding, 3)
    component_means(winner, labels, own, encoding, 3, np.ones(1, np.int64))
    omissions = OmissionRule(limits, np.zeros(3), limits)
    find_regions(labels, winner, own, best, np.ones(labels.shape, np.uint8), encoding, 3, omissions=omissions)
    if encoding.dtype == "uint8":
        planes = (labels.copy(), winner.copy(), own.copy(), best.copy())
        restore_planes(find_differences(planes), planes)
    else:
        count_reached(labels, own, limits)
    if encoding.dtype == "float32":
        add_low_bit_counts(flat[0], own.reshape(-1), 3, 0, np.zeros(1 << 16, np.int64))
        singles = own.view(np.float32).reshape(1, -1)
        softmin_sums(labels.reshape(1, -1), singles, 3, 0.1, np.empty(1), np.empty(1))


if __name__ == "__main__":
    warm_cache()
