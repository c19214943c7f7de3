"""Batches of images, compared with each image alone: the same bits, statuses and regions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.scoring.image import CondensedImages, condense_images
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.sums import mean_overlaps, segment_sums
from masksift.scoring.methods import METHODS, make_methods
from masksift.scoring.methods.base import ImageSummary, ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_images
from masksift.scoring.statistics.agreement import AgreementScale
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import ThresholdCodes
from support import datasets as drawn
from support.condensed import a_few, make_config

EVERY_METHOD = make_methods(METHODS, {})


@st.composite
def batches(draw: st.DrawFn) -> tuple[drawn.Data, CondenseConfig]:
    """Draw images of one size, some of them with invalid labels or probabilities or without valid pixels."""
    dtype, kind = draw(st.sampled_from([*((name, "probabilities") for name in drawn.DTYPES), ("float32", "logits")]))
    classes = draw(st.sampled_from([1, 2, 3, 5, 19, 255]))
    images, height, width = (draw(st.integers(1, most)) for most in (5, 9, 9))
    seed = draw(st.integers(0, 1 << 16))
    data = drawn.make_dataset(seed, images=images, classes=classes, height=height, width=width, dtype=dtype)
    predictions = data.predictions.copy()
    if kind == "logits":
        predictions = np.log(predictions + np.float32(1e-6))
    for i in range(images):
        change = draw(st.sampled_from(["none", "none", "label", "probability", "ignored"]))
        place = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        if change == "label" and classes < 255:
            data.labels[(i, *place)] = classes
        elif change == "probability":
            bad = np.nan if predictions.dtype.kind == "f" else np.iinfo(dtype).max
            predictions[(i, slice(None), *place)] = bad
        elif change == "ignored":
            data.labels[i] = 255
    config = make_config(
        classes,
        dtype,
        kind=kind,
        evidence=draw(st.sampled_from(["auto", "float32"])),
        lattice=draw(st.sampled_from([0, 1, 4])),
    )
    return data._replace(predictions=predictions), config


def condensed(data: drawn.Data, config: CondenseConfig, part: slice = slice(None)) -> CondensedImages:
    with np.errstate(invalid="ignore"):
        return condense_images(data.labels[part], [data.predictions[part]], config, data.ignore, methods=EVERY_METHOD)


def scoring_input(
    images: CondensedImages, codes: ThresholdCodes, rule: Any, summary: ImageSummary | None
) -> ScoringInput:
    planes = images.planes
    return ScoringInput(
        images.scored_labels,
        planes.predicted_class,
        planes.self_confidence,
        planes.predicted_confidence,
        len(codes.confident),
        codes.encoding,
        codes,
        rule,
        summary=summary,
    )


@a_few
@given(batch=batches())
def test_condensed_batch_equals_its_images(batch: tuple[drawn.Data, CondenseConfig]) -> None:
    data, config = batch
    whole = condensed(data, config)
    alone = [condensed(data, config, slice(i, i + 1)) for i in range(len(data.labels))]
    merged = ClassStatistics.empty(config)
    for i, one in enumerate(alone):
        assert whole.statuses[i] == one.statuses[0]
        np.testing.assert_array_equal(whole.labels[i], one.labels[0])
        for found, expected in zip(whole.planes.arrays, one.planes.arrays, strict=True):
            np.testing.assert_array_equal(found[i], expected[0])
        merged = merged.merge(one.statistics)
    assert whole.statistics.to_bytes() == merged.to_bytes()


@pytest.mark.parametrize("rule", ["rank", "confident"])
@a_few
@given(batch=batches(), data=st.data(), with_summary=st.booleans())
def test_scores_and_regions_of_a_batch_equal_those_of_its_images(
    rule: str, batch: tuple[drawn.Data, CondenseConfig], data: st.DataObject, with_summary: bool
) -> None:
    images, config = batch
    encoding, k = config.evidence, config.classes
    code = st.integers(0, encoding.top)
    limits, tau = (np.resize(data.draw(st.lists(code, min_size=1, max_size=3)), k) for _ in range(2))
    center = np.resize(data.draw(st.lists(st.sampled_from([math.nan, 0.0, 3.0]), min_size=1, max_size=3)), (2, k))
    codes = ThresholdCodes(
        encoding,
        limits,
        tau,
        data.draw(code),
        encoding.values(limits) + 1e-3,
        np.resize([0.0, 0.25], k),
        AgreementScale(center, center + 0.5),
    )
    omissions, whole = make_omission_rule(codes, EVERY_METHOD), condensed(images, config)
    together = scoring_input(whole, codes, rule, whole.summary if with_summary else None)
    sizes = np.full((len(whole), 2), images.labels.shape[1:])
    columns, regions = score_images(together, EVERY_METHOD), find_image_regions(together, sizes, 2, omissions)
    for i in range(len(whole)):
        one = condensed(images, config, slice(i, i + 1))
        alone = scoring_input(one, codes, rule, None)
        for name, column in score_images(alone, EVERY_METHOD).items():
            assert columns[name][i] is np.ma.masked if column.mask[0] else columns[name][i] == column[0], name
        for name, values in vars(alone.flagged).items():
            np.testing.assert_array_equal(getattr(together.flagged, name)[i], values[0])
        found = regions.take(np.flatnonzero(regions.image == i))
        expected = find_image_regions(alone, sizes[:1], 2, omissions)
        for name, values in vars(expected).items():
            if name != "image":
                np.testing.assert_array_equal(getattr(found, name), values)


@a_few
@given(
    parts=st.lists(st.sampled_from([0, 1, 3, 7, 8, 9, 127, 128, 129, 1000]), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_segment_sums_have_the_bits_of_numpy(parts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).random(sum(parts)) ** 9
    ends = np.cumsum(parts)
    expected = [values[stop - size : stop].sum() for size, stop in zip(parts, ends, strict=True)]
    assert segment_sums(values, ends).tolist() == expected


@a_few
@given(data=st.data(), classes=st.sampled_from([1, 2, 9, 40]))
def test_mean_overlaps_have_the_bits_of_numpy(data: st.DataObject, classes: int) -> None:
    joint = data.draw(hnp.arrays(np.int64, (2, classes, classes), elements=st.sampled_from([0, 0, 1, 5, 1000])))
    joint[:, 0, 0] += 1
    for table, found in zip(joint, mean_overlaps(joint), strict=True):
        both = table.diagonal()
        either = table.sum(axis=0) + table.sum(axis=1) - both
        assert found == np.mean(both[either > 0] / either[either > 0])
