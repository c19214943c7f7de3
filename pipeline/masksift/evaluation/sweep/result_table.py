"""Access to the rows of a sweep by setting and score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from masksift.evaluation.sweep.config import ScoreColumn
from masksift.scoring.methods.softmin import Softmin


@dataclass(frozen=True)
class SweepTable:
    """Rows of a sweep, ordered by error type, share and score.

    Attributes:
        rows: Metrics of image scores, one row per setting and score.
        regions: Metrics of region orders, one row per setting, order and metric.
    """

    rows: tuple[dict[str, Any], ...]
    regions: tuple[dict[str, Any], ...] = ()

    def _distinct(self, column: str) -> list[Any]:
        return list(dict.fromkeys(row[column] for row in self.rows if row[column] is not None))

    @cached_property
    def error_types(self) -> list[str]:
        """Error types."""
        return self._distinct("kind")

    @cached_property
    def shares(self) -> list[float]:
        """Shares of the images with an error."""
        return self._distinct("share")

    @cached_property
    def temperatures(self) -> list[float]:
        """Temperatures of softmin; empty if softmin is not computed."""
        return self._distinct("temperature")

    @property
    def images(self) -> int:
        """Number of ranked images."""
        return int(self.rows[0]["images"])

    @property
    def default_temperature(self) -> float | None:
        """Temperature nearest to the default of softmin in orders of magnitude, for comparison with other scores."""
        default = Softmin().temperature
        return min(self.temperatures, key=lambda t: abs(math.log(t / default)), default=None)

    @property
    def middle_share(self) -> float:
        """Share for the comparison of temperatures."""
        return self.shares[len(self.shares) // 2]

    @cached_property
    def scores(self) -> list[ScoreColumn]:
        """One score per method; softmin with its default temperature."""
        columns = dict.fromkeys((row["method"], row["temperature"]) for row in self.rows)
        return [(method, t) for method, t in columns if t is None or t == self.default_temperature]

    @cached_property
    def _by_setting(self) -> dict[tuple[str, float, ScoreColumn], Mapping[str, Any]]:
        return {(row["kind"], row["share"], (row["method"], row["temperature"])): row for row in self.rows}

    def row(self, error_type: str, share: float, score: ScoreColumn) -> Mapping[str, Any]:
        """Row of a setting and score."""
        return self._by_setting[error_type, share, score]

    @cached_property
    def orders(self) -> list[str]:
        """Orders of regions, as `regions by priority`."""
        return list(dict.fromkeys(row["score"] for row in self.regions))

    @cached_property
    def _regions_by_setting(self) -> dict[tuple[str, float, str, str, str | None], Mapping[str, Any]]:
        return {(row["kind"], row["share"], row["score"], row["measure"], row["at"]): row for row in self.regions}

    def region_row(
        self, error_type: str, share: float, order: str, metric: str, at: str | None = None
    ) -> Mapping[str, Any]:
        """Row of a setting, order of regions and metric."""
        return self._regions_by_setting[error_type, share, order, metric, at]

    def mean_order(self, error_type: str, order: str) -> float:
        """Mean average precision of an order over the shares with a value; NaN without any."""
        rows = [self.region_row(error_type, share, order, "region_average_precision") for share in self.shares]
        return _mean([row["value"] for row in rows])

    def mean(self, metric: str, error_type: str, score: ScoreColumn) -> float:
        """Mean over the shares with a value; NaN without any."""
        return _mean([self.row(error_type, share, score)[metric] for share in self.shares])


def _mean(values: Sequence[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else math.nan


def score_name(score: ScoreColumn) -> str:
    """Name of a score, such as `ccp` or `softmin (T = 0.1)`."""
    method, temperature = score
    return method if temperature is None else f"{method} (T = {temperature:g})"
