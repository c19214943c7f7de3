"""Count compared values and collect those that differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-9
"""Largest accepted difference of real numbers: absolute, and relative to stored numbers above 1."""


@dataclass
class Comparison:
    """Comparison of one quantity.

    Attributes:
        name: Name of the quantity.
        values: Number of compared values.
        difference: Largest difference, relative for numbers above 1; inf if one of two values is missing.
        mismatches: Number of values that differ.
        listed: The first of them, as plain values.
    """

    name: str
    values: int = 0
    difference: float = 0.0
    mismatches: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; JSON has no infinity."""
        difference = self.difference if math.isfinite(self.difference) else None
        return {
            "name": self.name,
            "values": self.values,
            "largest_difference": difference,
            "mismatches": self.mismatches,
        }


class Comparisons:
    """Comparisons by quantity, in the order in which they begin.

    Args:
        top: Number of mismatches to list for each quantity.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._by_name: dict[str, Comparison] = {}
        self.not_checked: dict[str, int] = {}
        """What was not checked and why, with the number of affected images, 0 if it is not about single images."""

    @property
    def all(self) -> list[Comparison]:
        """All comparisons."""
        return list(self._by_name.values())

    @property
    def mismatches(self) -> int:
        """Number of values that differ."""
        return sum(one.mismatches for one in self.all)

    def skip(self, reason: str, images: int = 0) -> None:
        """Record what is not checked, and of how many more images."""
        self.not_checked[reason] = self.not_checked.get(reason, 0) + images

    def number(self, name: str, where: str, stored: Any, computed: Any, tolerance: float = TOLERANCE) -> None:
        """Compare two real numbers, of which None or NaN are missing."""
        pair = [math.nan if value is None else float(value) for value in (stored, computed)]
        self.numbers(name, lambda _: where, np.array(pair[:1]), np.array(pair[1:]), tolerance)

    def numbers(
        self,
        name: str,
        where: Callable[[int], str],
        stored: NDArray[Any],
        computed: NDArray[Any],
        tolerance: float = TOLERANCE,
    ) -> None:
        """Compare real numbers (n,), of which NaN are missing; ``where`` describes the place of one."""
        with np.errstate(invalid="ignore"):
            difference = np.abs(stored - computed) / np.maximum(1, np.abs(stored))
        same = (stored == computed) | (np.isnan(stored) & np.isnan(computed))
        difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
        one = self._find(name, len(stored))
        one.difference = max(one.difference, float(difference.max(initial=0.0)))
        wrong = np.flatnonzero(difference > tolerance)
        one.mismatches += len(wrong)
        for i in wrong[: self._top - len(one.listed)].tolist():
            self._list(one, where(i), _plain(stored[i]), _plain(computed[i]))

    def equal(self, name: str, where: str, stored: Any, computed: Any) -> None:
        """Compare two texts or integers, or None."""
        one = self._find(name, 1)
        if stored != computed:
            one.mismatches += 1
            numbers = isinstance(stored, int) and isinstance(computed, int)
            one.difference = max(one.difference, float(abs(stored - computed)) if numbers else math.inf)
            self._list(one, where, stored, computed)

    def planes(
        self,
        name: str,
        where: str,
        stored: NDArray[Any],
        computed: NDArray[Any],
        counted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Compare the ``counted`` pixels, by default all, of two planes (H, W), which must be equal."""
        counted = np.ones(stored.shape, bool) if counted is None else counted
        one = self._find(name, int(np.count_nonzero(counted)))
        wrong = (stored != computed) & counted
        if (count := int(np.count_nonzero(wrong))) == 0:
            return
        one.mismatches += count
        difference = np.abs(stored[wrong].astype(np.float64) - computed[wrong].astype(np.float64))
        one.difference = max(one.difference, float(difference.max()))
        y, x = (int(i) for i in np.argwhere(wrong)[0])
        more = f", and {count - 1:,} more pixels" if count > 1 else ""
        self._list(one, f"{where}, pixel (y={y}, x={x}){more}", _plain(stored[y, x]), _plain(computed[y, x]))

    def _find(self, name: str, values: int) -> Comparison:
        one = self._by_name.setdefault(name, Comparison(name))
        one.values += values
        return one

    def _list(self, one: Comparison, where: str, stored: Any, computed: Any) -> None:
        if len(one.listed) < self._top:
            one.listed.append({"compared": one.name, "where": where, "stored": stored, "computed": computed})


def _plain(value: Any) -> Any:
    """Return a number as a Python number, None for NaN and infinity."""
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
