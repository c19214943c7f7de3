"""Logistic regression of decisions on features of regions.

Reviewers begin at the top of the list, so that the decisions tell little about the rest. Two priors make up for it:
strong regularization, and the *background*: regions spread evenly over the rest of the list count as right labels, with
the weight of ten decisions together. Without the background, a fit to the first decisions, most of which are accepted,
expects several times as many errors as there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

INVERSE_REGULARIZATION = 0.2
"""`C` of `sklearn.linear_model.LogisticRegression`, for standardized features."""
BACKGROUND_WEIGHT = 10.0
"""Decisions that the background counts as, if nothing is reviewed; in proportion to the rest of the list."""
BACKGROUND_REGIONS = 1000
"""Largest number of regions of the background."""
FOLDS = 5
REPLICATES = 200
"""Fits for the interval of the expected errors."""
PRIOR_SPREAD = 1.0
"""Standard deviation of the logarithms of both priors' strengths over the replicates."""
LEVEL = 0.95
"""Level of the interval."""
_CHUNK_ROWS = 1 << 13


@dataclass(frozen=True)
class ReviewedRegions:
    """Regions with a decision, accepted or rejected, in the order of the list.

    Attributes:
        features: Features, (n, F).
        wrong: Label is wrong, (n,): accepted.
        weights: Number of decisions that each region stands for, (n,): a decision on an image is shared by its regions.
        images: Number of the image of each region, (n,).
    """

    features: Floats
    wrong: NDArray[np.bool_]
    weights: Floats
    images: Positions

    def select(self, rows: NDArray[np.bool_]) -> ReviewedRegions:
        """Return some of the regions, by a mask (n,)."""
        return ReviewedRegions(self.features[rows], self.wrong[rows], self.weights[rows], self.images[rows])


@dataclass(frozen=True)
class Background:
    """Regions of the rest of the list that count as right labels: features (m, F), total weight."""

    features: Floats
    weight: float


@dataclass(frozen=True)
class DecisionModel:
    """Fitted model: the log-odds of a wrong label are ``intercept`` + features @ ``coefficients`` (F,)."""

    coefficients: Floats
    intercept: float

    def log_odds(self, features: Floats) -> Floats:
        """Return the log-odds (N,) of a wrong label of regions with features (N, F)."""
        return features @ self.coefficients + self.intercept


def make_background(remaining: Floats, listed: int) -> Background:
    """Select the background.

    Args:
        remaining: Features of the regions that are not reviewed, (R, F), in the order of the list.
        listed: Number of regions of the whole list.

    Returns:
        The background.
    """
    count = min(BACKGROUND_REGIONS, len(remaining))
    rows = np.linspace(0, len(remaining) - 1, count).round().astype(np.int64)
    return Background(remaining[rows], BACKGROUND_WEIGHT * len(remaining) / listed)


def fit_model(
    reviewed: ReviewedRegions, background: Background, inverse_regularization: float = INVERSE_REGULARIZATION
) -> DecisionModel:
    """Fit the model to decisions of both kinds."""
    from sklearn.linear_model import LogisticRegression

    count = len(background.features)
    weights = np.concatenate([reviewed.weights, np.full(count, background.weight / count)])
    fitted = LogisticRegression(C=inverse_regularization, max_iter=1000).fit(
        np.concatenate([reviewed.features, background.features]),
        np.concatenate([reviewed.wrong, np.zeros(count, bool)]),
        sample_weight=weights,
    )
    return DecisionModel(fitted.coef_[0], float(fitted.intercept_[0]))


def cross_validate(reviewed: ReviewedRegions, background: Background) -> Floats | None:
    """Predict each reviewed region by a model that saw no region of its image.

    Args:
        reviewed: Regions with a decision.
        background: The background.

    Returns:
        Log-odds of a wrong label, (n,), or None if fewer than two images have an accepted region.
    """
    folds = _image_folds(reviewed)
    if folds is None:
        return None
    log_odds = np.empty(len(folds))
    for fold in np.unique(folds).tolist():
        held_out = folds == fold
        log_odds[held_out] = fit_model(reviewed.select(~held_out), background).log_odds(reviewed.features[held_out])
    return log_odds


def _image_folds(reviewed: ReviewedRegions) -> Positions | None:
    """Return the fold of each region: images with an accepted region in turn, then all others in turn."""
    images, numbers = np.unique(reviewed.images, return_inverse=True)
    accepted = np.zeros(len(images), bool)
    accepted[numbers[reviewed.wrong]] = True
    folds = min(FOLDS, int(accepted.sum()))
    if folds < 2:
        return None
    turns = np.where(accepted, np.cumsum(accepted) - 1, np.cumsum(~accepted) - 1)
    return (turns % folds)[numbers]


@dataclass(frozen=True)
class ExpectedErrors:
    """Expected number of wrong labels among the remaining regions, with its interval."""

    count: float
    low: float
    high: float


def expect_errors(
    model: DecisionModel, reviewed: ReviewedRegions, background: Background, remaining: Floats, seed: int
) -> ExpectedErrors:
    """Estimate how many of the remaining regions have wrong labels.

    The interval has three parts: replicates of the fit over the reviewed images (Bayesian bootstrap: each image has an
    exponentially distributed weight), priors whose strengths vary by a factor of e in each replicate, and the variance
    of the number of errors given their probabilities (Poisson binomial, approximately normal).

    Args:
        model: Model fitted to the reviewed regions.
        reviewed: Regions with a decision.
        background: The background.
        remaining: Features of the remaining regions, (R, F).
        seed: Random seed.

    Returns:
        Sum of the probabilities, and quantiles of the replicates.
    """
    rng = np.random.default_rng(seed)
    models = [model]
    images, numbers = np.unique(reviewed.images, return_inverse=True)
    for _ in range(REPLICATES):
        weights = rng.exponential(size=len(images))
        strength, penalty = np.exp(PRIOR_SPREAD * rng.standard_normal(2))
        replicate = ReviewedRegions(
            reviewed.features,
            reviewed.wrong,
            reviewed.weights * (weights / weights.mean())[numbers],
            reviewed.images,
        )
        varied = Background(background.features, background.weight * strength)
        models.append(fit_model(replicate, varied, INVERSE_REGULARIZATION * penalty))
    means, variances = _error_moments(models, remaining)
    totals = rng.normal(means[1:], np.sqrt(variances[1:]))
    low, high = np.quantile(np.clip(totals, 0, len(remaining)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return ExpectedErrors(float(means[0]), float(low), float(high))


def _error_moments(models: list[DecisionModel], features: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance of the number of errors by each model, (M,) each; memory does not grow with regions."""
    coefficients = np.stack([model.coefficients for model in models], axis=1)
    intercepts = np.array([model.intercept for model in models])
    means, variances = np.zeros(len(models)), np.zeros(len(models))
    for chunk in _chunks(features):
        probabilities = expit(chunk @ coefficients + intercepts)
        means += probabilities.sum(axis=0)
        variances += (probabilities * (1 - probabilities)).sum(axis=0)
    return means, variances


def _chunks(features: Floats) -> Iterator[Floats]:
    return (features[first : first + _CHUNK_ROWS] for first in range(0, len(features), _CHUNK_ROWS))
