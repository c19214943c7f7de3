"""Small test data sets: a seeded generator of plausible ones, and hypothesis strategies for edge cases.

All images are valid; a test of invalid input changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
LABEL_DTYPES = ("uint8", "int16", "uint16", "int32", "int64")


class Data(NamedTuple):
    """Predictions (N, K, H, W), labels (N, H, W) and the ignore values."""

    predictions: Array
    labels: Array
    ignore: tuple[int, ...]


# -------------------------------------------------------------------------------------- plausible, seeded


def make_dataset(
    seed: int,
    *,
    images: int,
    classes: int,
    height: int,
    width: int,
    dtype: DTypeLike,
    ignore: int | None = 255,
    error_share: float = 0.1,
    ignored_image: int | None = None,
) -> Data:
    """Make blobs of classes, mostly right predictions and labels with wrong patches.

    A patch of about 5 % of each image is ignored, and all of ``ignored_image``; nothing with ``ignore=None``.
    """
    if ignore is None and ignored_image is not None:
        raise ValueError("An ignored image needs an ignore value")
    rng = np.random.default_rng(seed)
    truth = np.stack([blobs(rng, classes, height, width) for _ in range(images)])
    labels = with_errors(rng, truth, classes, error_share)
    predictions = quantize(noisy_softmax(rng, truth, classes), dtype)
    labels = labels.astype(label_dtype(classes, ignore))
    if ignore is None:
        return Data(predictions, labels, ())
    for image in labels:
        image[patch(rng, height, width, 0.05)] = ignore
    if ignored_image is not None:
        labels[ignored_image] = ignore
    return Data(predictions, labels, (ignore,))


def label_dtype(classes: int, ignore: int | None) -> np.dtype[Any]:
    """Return the narrowest dtype for all classes and the ignore value."""
    return np.promote_types(np.min_scalar_type(classes - 1), np.min_scalar_type(ignore or 0))


def blobs(rng: np.random.Generator, classes: int, height: int, width: int) -> Array:
    """Give each pixel (H, W) the class of the nearest of a few random points."""
    points = rng.uniform(0, (height, width), size=(2 + classes, 2))
    kind = rng.integers(0, classes, size=len(points))
    rows, columns = np.mgrid[0:height, 0:width]
    distance = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    return np.asarray(kind[distance.argmin(axis=-1)])


def patch(rng: np.random.Generator, height: int, width: int, share: float) -> tuple[slice, slice]:
    """Choose a random rectangle of about a share of the image, at least one pixel."""
    tall, wide = (max(1, round(side * share**0.5)) for side in (height, width))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    return slice(top, top + tall), slice(left, left + wide)


def with_errors(rng: np.random.Generator, truth: Array, classes: int, share: float) -> Array:
    """Change the classes of random patches until a share of the pixels is wrong."""
    labels = truth.copy()
    while classes > 1 and (labels != truth).mean() < share:
        image = rng.integers(0, len(truth))
        where = (image, *patch(rng, truth.shape[1], truth.shape[2], 0.03))
        labels[where] = (truth[where] + rng.integers(1, classes)) % classes
    return labels


def noisy_softmax(rng: np.random.Generator, truth: Array, classes: int) -> Array:
    """Return noisy probabilities (N, K, H, W) float64 that favor the true class."""
    logits = (truth[:, None] == np.arange(classes)[None, :, None, None]) * rng.uniform(2, 4)
    powers = np.exp(logits + rng.normal(size=logits.shape))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def quantize(probabilities: Array, dtype: DTypeLike) -> Array:
    """Convert probabilities to a dtype; unsigned integers mean value / maximum."""
    kind = np.dtype(dtype)
    if kind.kind == "u":
        probabilities = np.rint(probabilities * np.iinfo(kind).max)
    return np.asarray(probabilities.astype(kind))


# ------------------------------------------------------------------------------------ awkward, for hypothesis


@st.composite
def palettes(draw: st.DrawFn, classes: int, dtype: str) -> Array:
    """Draw a few distributions (rows, K) over the classes, of few distinct values, that sum to 1 exactly.

    Multiples of 1/16 (floats) or 1/15 (integers) are exact in every dtype. Ties within and between rows, and values at
    the edge of a histogram bin, are frequent.
    """
    unsigned = np.dtype(dtype).kind == "u"
    parts = 15 if unsigned else 16
    cuts = draw(
        st.lists(
            st.lists(st.integers(0, parts), min_size=classes - 1, max_size=classes - 1),
            min_size=1,
            max_size=4,
        )
    )
    rows = np.array([np.diff([0, *sorted(row), parts]) for row in cuts])
    if unsigned:
        return (rows * (np.iinfo(dtype).max // parts)).astype(dtype)
    return (rows / parts).astype(dtype)


@st.composite
def tie_rich(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[str] = DTYPES,
    classes: tuple[int, int] = (2, 12),
    images: tuple[int, int] = (1, 3),
    side: tuple[int, int] = (1, 6),
) -> Data:
    """Draw images of few distinct values, so that confidences, thresholds and the cut are often equal."""
    count = draw(st.integers(*classes))
    dtype = draw(st.sampled_from(list(dtypes)))
    palette = draw(palettes(count, dtype))
    shape = draw(st.tuples(st.integers(*images), st.integers(*side), st.integers(*side)))
    index = draw(hnp.arrays(np.int8, shape, elements=st.integers(0, len(palette) - 1)))
    kind = np.dtype(draw(st.sampled_from(LABEL_DTYPES)))
    ignore = draw(st.sampled_from([(255,), (200, 255), (), (-1,) if kind.kind == "i" else (255,)]))
    values = st.sampled_from([*range(count), *ignore])
    labels = draw(hnp.arrays(kind, shape, elements=values))
    return Data(np.ascontiguousarray(np.moveaxis(palette[index], -1, 1)), labels, ignore)


@st.composite
def plausible(draw: st.DrawFn, *, dtypes: Sequence[str] = DTYPES) -> Data:
    """Draw the shape and seed of a plausible data set."""
    return make_dataset(
        draw(st.integers(0, 2**32 - 1)),
        images=draw(st.integers(1, 3)),
        classes=draw(st.integers(2, 12)),
        height=draw(st.integers(1, 12)),
        width=draw(st.integers(1, 12)),
        dtype=draw(st.sampled_from(list(dtypes))),
        ignore=draw(st.sampled_from([255, -1, None])),
    )


@st.composite
def one_class_absent(draw: st.DrawFn, *, dtypes: Sequence[str] = DTYPES) -> Data:
    """Draw data in which no pixel is labeled with one of the classes; it may be predicted."""
    data = draw(tie_rich(dtypes=dtypes))
    classes = data.predictions.shape[1]
    absent = draw(st.integers(0, classes - 1))
    labels = np.where(data.labels == absent, (absent + 1) % classes, data.labels)
    return data._replace(labels=labels.astype(data.labels.dtype))


def one_pixel_images(*, dtypes: Sequence[str] = DTYPES) -> st.SearchStrategy[Data]:
    """Draw up to eight images of one pixel."""
    return tie_rich(dtypes=dtypes, images=(1, 8), side=(1, 1))


@st.composite
def ignored_planes(draw: st.DrawFn, *, dtypes: Sequence[str] = DTYPES) -> Data:
    """Draw images of which at least one is ignored entirely."""
    data = draw(tie_rich(dtypes=dtypes).filter(lambda drawn: drawn.ignore))
    last = len(data.labels) - 1
    chosen = draw(st.lists(st.integers(0, last), min_size=1, unique=True))
    labels = data.labels.copy()
    labels[chosen] = data.ignore[0]
    return data._replace(labels=labels)


def any_data(*, dtypes: Sequence[str] = DTYPES) -> st.SearchStrategy[Data]:
    """Draw any of these data sets."""
    makers = (tie_rich, plausible, one_class_absent, one_pixel_images, ignored_planes)
    return st.one_of(*(maker(dtypes=dtypes) for maker in makers))
