"""Hypothesis strategies for the evidence of one image, and plain loops over its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from masksift.scoring.kernels.encoding import Encoding

ENCODINGS = (Encoding("uint8", 1 / 255), Encoding("uint16", 1 / 65535), Encoding("float16"), Encoding("float32"))
Codes = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Evidence:
    """Planes (H, W) of one image; ignored labels hold the dtype's maximum."""

    classes: int
    encoding: Encoding
    labels: Codes
    predicted: Codes
    s: Codes
    m: Codes

    def pixels(self) -> list[tuple[int, int, int, int]]:
        """Return (l, a, code of s, code of m) of every valid pixel, row by row."""
        planes = (self.labels, self.predicted, self.s, self.m)
        rows = zip(*(plane.reshape(-1).tolist() for plane in planes), strict=True)
        return [row for row in rows if row[0] < self.classes]

    def batch(self, *names: str) -> list[Codes]:
        """Return planes (1, H, W): a batch of one image."""
        return [getattr(self, name)[np.newaxis] for name in names]

    def flat(self, *names: str) -> list[Codes]:
        return [getattr(self, name).reshape(-1) for name in names]


@st.composite
def evidence(draw: st.DrawFn, encodings: tuple[Encoding, ...] = ENCODINGS) -> Evidence:
    """Draw evidence of any encoding with few distinct codes, among them the smallest and the largest."""
    encoding = draw(st.sampled_from(encodings))
    classes = draw(st.sampled_from([1, 2, 3, 5, 254, 255, 300]))
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    dtype = np.uint8 if classes <= 254 else np.uint16
    palette = [0, encoding.top, *draw(st.lists(st.integers(0, encoding.top), min_size=1, max_size=4))]
    few = st.sampled_from(sorted({0, 1 % classes, classes - 1}))
    labels = draw(hnp.arrays(dtype, shape, elements=st.one_of(few, st.just(int(np.iinfo(dtype).max)))))
    predicted = draw(hnp.arrays(dtype, shape, elements=few))
    s, m = (draw(hnp.arrays(encoding.codes_dtype, shape, elements=st.sampled_from(palette))) for _ in "sm")
    s = np.where(labels < classes, s, 0).astype(encoding.codes_dtype)
    return Evidence(classes, encoding, labels, predicted, s, m)


def limits_of(drawn: Evidence, data: st.DataObject) -> NDArray[np.int64]:
    """Draw one code per class, from 0 to one above the largest, often one that occurs."""
    codes = st.one_of(st.sampled_from([*drawn.s.reshape(-1).tolist(), 0]), st.integers(0, drawn.encoding.top + 1))
    few = data.draw(st.lists(codes, min_size=3, max_size=3))
    return np.array([few[k % 3] for k in range(drawn.classes)], np.int64)


def histogram(drawn: Evidence) -> NDArray[np.int64]:
    counts = np.zeros(drawn.encoding.bins, np.int64)
    for _, _, s, _ in drawn.pixels():
        counts[s >> drawn.encoding.key_shift] += 1
    return counts


def classes_by_classes(drawn: Evidence) -> NDArray[np.int64]:
    joint = np.zeros((drawn.classes, drawn.classes), np.int64)
    for label, a, _, _ in drawn.pixels():
        joint[label, a] += 1
    return joint
