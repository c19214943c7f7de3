"""The table of a sweep as pages and pictures ask for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from masksift.evaluation.sweep.config import Column
from masksift.scoring.methods.softmin import Softmin


@dataclass(frozen=True)
class Table:
    """The rows by kind, share and score, as `measure` orders them."""

    rows: tuple[dict[str, Any], ...]

    def _distinct(self, name: str) -> list[Any]:
        return list(dict.fromkeys(row[name] for row in self.rows if row[name] is not None))

    @property
    def kinds(self) -> list[str]:
        return self._distinct("kind")

    @property
    def shares(self) -> list[float]:
        return self._distinct("share")

    @property
    def temperatures(self) -> list[float]:
        """Of softmin, none where it was not asked for."""
        return self._distinct("temperature")

    @property
    def images(self) -> int:
        """Ranked images."""
        return int(self.rows[0]["images"])

    @property
    def usual(self) -> float | None:
        """The temperature that stands for softmin beside other scores: the one nearest to its default, in orders of
        magnitude."""
        default = Softmin().temperature
        return min(self.temperatures, key=lambda t: abs(math.log(t / default)), default=None)

    @property
    def middle(self) -> float:
        """The share that stands for all where the temperature is looked at."""
        return self.shares[len(self.shares) // 2]

    @property
    def scores(self) -> list[Column]:
        """One a method, softmin with its usual temperature."""
        every = dict.fromkeys((row["method"], row["temperature"]) for row in self.rows)
        return [(method, t) for method, t in every if t is None or t == self.usual]

    @cached_property
    def _by_place(self) -> dict[tuple[str, float, Column], Mapping[str, Any]]:
        return {(row["kind"], row["share"], (row["method"], row["temperature"])): row for row in self.rows}

    def row(self, kind: str, share: float, score: Column) -> Mapping[str, Any]:
        """The row of a setting and score."""
        return self._by_place[kind, share, score]

    def mean(self, measure: str, kind: str, score: Column) -> float:
        """Over the shares that have a figure; NaN where none has."""
        values = [self.row(kind, share, score)[measure] for share in self.shares]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else math.nan


def shown(score: Column) -> str:
    """What a score is called: `ccp`, `softmin (T = 0.1)`."""
    method, temperature = score
    return method if temperature is None else f"{method} (T = {temperature:g})"
