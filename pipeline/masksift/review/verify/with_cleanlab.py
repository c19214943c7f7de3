"""Compare a run with cleanlab, where it is installed.

cleanlab does not know ignored pixels. It gets the valid pixels of an image, or of all images, as one row of pixels: its
scores and issues do not depend on the position of a pixel.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.review.verify.comparisons import Comparisons
from masksift.review.verify.reference import Image

MAX_PROBABILITIES_BYTES = 1 << 30
"""Largest size of the float64 probabilities of all valid pixels, which cleanlab needs at a time."""
SOFTMIN, ISSUES = "softmin of cleanlab", "issues of cleanlab"


def cleanlab_version() -> str | None:
    """Return the version of cleanlab, None if it is not installed."""
    try:
        return version("cleanlab")
    except PackageNotFoundError:
        return None


def compare_softmin(
    comparisons: Comparisons,
    where: str,
    stored: float | None,
    image: Image,
    probabilities: NDArray[np.float64],
    temperature: float,
) -> None:
    """Compare a stored score with `cleanlab.segmentation.rank.get_label_quality_scores`.

    Args:
        comparisons: Receives the result.
        where: Name of the image.
        stored: Its score.
        image: Its evidence.
        probabilities: Its probabilities (K, H, W) at the precision of the evidence.
        temperature: T of softmin.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from its imports
        from cleanlab.segmentation.rank import get_label_quality_scores

        labels, p = image.labels[image.valid], probabilities[:, image.valid]
        scores, _ = get_label_quality_scores(
            labels[np.newaxis, np.newaxis],
            p[np.newaxis, :, np.newaxis],
            method="softmin",
            temperature=temperature,
            n_jobs=1,
            verbose=False,
        )
    comparisons.number(SOFTMIN, where, stored, scores[0])


@dataclass
class IssueCollector:
    """Valid pixels of all images, whose issues cleanlab finds together."""

    names: list[str] = field(default_factory=list)
    labels: list[NDArray[Any]] = field(default_factory=list)
    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    counted: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=list)

    def add(
        self,
        name: str,
        image: Image,
        probabilities: NDArray[np.float64],
        mask: NDArray[np.uint8],
        cut: float | None,
    ) -> None:
        """Add an image with its probabilities (K, H, W) and its stored mask (H, W)."""
        self.names.append(name)
        self.labels.append(image.labels[image.valid])
        self.probabilities.append(probabilities[:, image.valid])
        self.masks.append(mask)
        self.counted.append((image.valid, image.valid & (image.s != (np.nan if cut is None else cut))))

    def compare(self, comparisons: Comparisons) -> None:
        """Compare the stored masks with `cleanlab.segmentation.filter.find_label_issues`, except at the cut.

        Of pixels whose self-confidence equals the cut, cleanlab flags those that come first, a run all of them.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cleanlab.segmentation.filter import find_label_issues

            issues = find_label_issues(
                np.concatenate(self.labels)[np.newaxis, np.newaxis],
                np.concatenate(self.probabilities, axis=1)[np.newaxis, :, np.newaxis],
                n_jobs=1,
                verbose=False,
            )[0, 0]
        parts = np.split(issues, np.cumsum([len(labels) for labels in self.labels])[:-1])
        for name, mask, (valid, counted), own_issues in zip(self.names, self.masks, self.counted, parts, strict=True):
            computed = np.zeros_like(mask)
            computed[valid] = own_issues
            comparisons.planes(ISSUES, name, mask, computed, counted)
