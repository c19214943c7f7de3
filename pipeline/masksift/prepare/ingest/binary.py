"""Recognize data sets of two classes: one plane of predictions per image, and masks of 0 and 255.

Where headers leave the meaning open, the values of all files decide; a few files are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import BINARY_MASK
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.labels import ClassMap, InputPair, LabelReader
from masksift.prepare.ingest.predictions import PredictionFormat, PredictionReader
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter

_FILES_IN_MEMORY = 4
MASK: ClassMap = dict(BINARY_MASK)
"""Classes of the values of a mask of 0 and 255."""


@dataclass(frozen=True)
class ValueSurvey:
    """Survey of stored values, which reads files only if their headers leave a question open."""

    inputs: Inputs
    config: IngestConfig
    options: Mapping[str, Any]
    progress: ProgressReporter

    def plane_format(self, dtypes: Iterable[str]) -> PredictionFormat | None:
        """Decide what one plane of predictions per image means, given its dtypes; None if it stays open.

        Returns:
            "positive" for probabilities or logits of the positive class of two, "numbers" for class numbers.

        Raises:
            DataError: The values fit neither.
        """
        kinds, classes = {np.dtype(name).kind for name in dtypes}, self.inputs.classes
        if classes is not None and len(classes) != 2:
            return "numbers" if kinds <= set("iub") else None
        if kinds == {"f"}:
            return "positive"
        if not kinds <= set("iub") or self.config.kind == "logits":
            return None
        if classes is None and not self._has_binary_labels:
            return None  # class numbers of an unknown number of classes
        if kinds != {"u"}:
            return "numbers"
        dtype = max(dtypes, key=lambda name: np.dtype(name).itemsize)
        return "positive" if self.config.scale is not None else self._integer_format(dtype)

    @cached_property
    def mask_values(self) -> ClassMap | None:
        """Classes of the label values if labels of two classes hold 0 and 255 and nothing else."""
        return MASK if 255 not in self.config.ignore and self._label_values({0, 255}) == {0, 255} else None

    @property
    def _has_binary_labels(self) -> bool:
        return self.mask_values is not None or self._label_values({0, 1}) <= {0, 1}

    def _label_values(self, expected: set[int]) -> set[int]:
        """Collect the label values that are not ignored until there is another one; none if the values are named."""
        inputs, config, ignored = self.inputs, self.config, {*self.config.ignore}
        is_named = inputs.values is not None or inputs.pairs[0].names_classes
        is_named |= config.remap is not None or config.label_offset is not None
        if is_named or inputs.colors:
            return set()
        reader = LabelReader(2, {}, {}, lossy=config.allow_lossy)
        found = self._collect(
            lambda pair: distinct_values(reader.read_stored(pair, self.options)) - {pair.nodata},
            lambda found: not found - ignored <= expected,
        )
        return found - ignored

    def _integer_format(self, dtype: str) -> PredictionFormat:
        """Tell class numbers 0 and 1 from probabilities in steps of an unsigned integer."""
        reader = PredictionReader("positive", 2, (), dtype, self.config.kind, self.config.allow_lossy)
        top = int(np.iinfo(dtype).max)

        def is_probability(found: set[int]) -> bool:
            return max(found, default=0) > top // 2 and (found <= {0, top} or not found <= {0, 1, 255, top})

        def is_decided(found: set[int]) -> bool:
            return is_probability(found) and not found <= {0, top}

        found = self._collect(lambda pair: distinct_values(reader.read_plane(pair, self.options)), is_decided)
        if found <= {0, 1}:
            return "numbers"
        if is_probability(found):
            return "positive"
        values = ", ".join(map(str, sorted(found)[:8])) + (", ..." if len(found) > 8 else "")
        raise DataError(
            f"Predictions in {self.config.predictions} hold the values {values}",
            f"They are neither the class numbers 0 and 1 nor probabilities in steps of 1/{top}",
            "Pass --scale with the probability of one step, or write class numbers, or floats as .npy",
        )

    def _collect(self, read: Callable[[InputPair], set[int]], stop: Callable[[set[int]], bool]) -> set[int]:
        """Collect the values of the files of all images, or of the first ones until they decide."""
        found: set[int] = set()
        with self.progress.stage("values"), ThreadPoolExecutor(_FILES_IN_MEMORY) as pool:
            for pairs in split_items(self.inputs.pairs, _FILES_IN_MEMORY):
                for values in pool.map(read, pairs):
                    found |= values
                if stop(found):
                    break
        return found


def distinct_values(values: NDArray[Any]) -> set[int]:
    """Return the different integers of an array."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # much faster than sorting
        present = np.zeros(int(np.iinfo(values.dtype).max) + 1, bool)
        present[values.reshape(-1)] = True
        return set(np.flatnonzero(present).tolist())
    return set(np.unique(values).tolist())
