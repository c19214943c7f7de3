"""Condensing: K planes become three, of any dtype and any cut into slabs, as the reference has them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.scoring.kernels.condense import CondenseConfig, CondensedWindow, class_dtype, class_plane, condense_window
from reference import evidence as reference_evidence
from reference.audit import lattice_bin
from support import datasets as drawn
from support.condensed import a_few, make_config

Array = drawn.Array
FLOATS = ("float16", "float32", "float64")


def condense(
    p: Array, labels: Array, config: CondenseConfig, ignore: tuple[int, ...] = (), y0: int = 0, x0: int = 0
) -> CondensedWindow:
    """One slab that is good: predictions (K, h, w), labels as they are given (h, w)."""
    plane, bad = class_plane(labels, config.classes, ignore)
    assert bad is None
    slab = condense_window(p, plane, config, y0, x0)
    assert isinstance(slab, CondensedWindow), slab
    return slab


def same(one: CondensedWindow, other: CondensedWindow) -> None:
    for name in vars(one):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


def as_the_reference(p: Array, labels: Array, config: CondenseConfig, ignore: tuple[int, ...]) -> None:
    """All of a slab is what plain loops say of the same image: to the bit."""
    evidence_dtype = "float32" if config.evidence.dtype == "float32" else "auto"
    scale = config.scale if p.dtype.kind == "u" else None
    storage = reference_evidence.storage_of(p.dtype, scale, config.prediction_kind, evidence_dtype)
    expected = reference_evidence.condense(p, labels, ignore, config.prediction_kind, storage, config.sum_tolerance)
    assert expected.status in ("ok", "all_ignored")
    slab = condense(p, labels, config, ignore)
    codes = config.evidence.codes
    np.testing.assert_array_equal(slab.self_confidence, codes(expected.stored[0]))
    np.testing.assert_array_equal(slab.predicted_class, expected.stored[1])
    np.testing.assert_array_equal(slab.predicted_confidence, codes(expected.stored[2]))
    own, every = np.zeros((2, config.classes, 256), np.int64)
    assert expected.p is not None
    for y, x in expected.pixels():
        if y % config.lattice == 0 and x % config.lattice == 0:
            for k, value in enumerate(expected.p[:, y, x].tolist()):
                every[k, lattice_bin(value)] += 1
                own[k, lattice_bin(value)] += expected.label[y][x] == k
    np.testing.assert_array_equal(slab.grid_labeled, own)
    np.testing.assert_array_equal(slab.grid_all, every)


def one_image(classes: int, height: int, width: int, dtype: str, seed: int = 0) -> tuple[Array, Array, tuple[int, ...]]:
    """Predictions (K, H, W), labels (H, W) with -1 = no label."""
    data = drawn.make_dataset(seed, images=1, classes=classes, height=height, width=width, dtype=dtype, ignore=-1)
    return data.predictions[0], data.labels[0], data.ignore


# ------------------------------------------------------------------------------------ against the reference


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@a_few
@given(data=st.data(), lattice=st.integers(1, 5))
def test_condense_of_any_dtype_equals_the_reference(dtype: str, data: st.DataObject, lattice: int) -> None:
    images = data.draw(drawn.any_data(dtypes=[dtype]))
    evidence = data.draw(st.sampled_from(["auto", "float32"]))
    config = make_config(images.predictions.shape[1], dtype, lattice=lattice, evidence=evidence)
    for p, labels in zip(images.predictions, images.labels, strict=True):
        as_the_reference(p, labels, config, images.ignore)


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@pytest.mark.parametrize("classes", [2, 19, 254, 255, 257, 258, 300])
def test_condense_of_any_number_of_classes_equals_the_reference(classes: int, dtype: str) -> None:
    p, labels, ignore = one_image(classes, 5, 6, dtype)
    as_the_reference(p, labels, make_config(classes, dtype, lattice=2), ignore)


@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_condense_of_several_tiles_equals_the_reference(dtype: str) -> None:
    p, labels, ignore = one_image(60, 41, 53, dtype)  # a tile is 160 KiB, or 256 pixels
    as_the_reference(p, labels, make_config(60, dtype, lattice=3), ignore)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint8", 0.01), ("uint8", 1 / 16), ("uint16", 1e-4), ("uint16", 1 / 333)]
)
def test_integers_with_another_scale_equal_the_reference(dtype: str, scale: float) -> None:
    rng = np.random.default_rng(3)
    p = np.rint(rng.dirichlet([0.3] * 3, size=(8, 9)) / scale).astype(dtype)
    p[0, 0] = [round(1 / scale), 0, 0]
    p[0, 1] = [0, 0, int(1.001 / scale)]  # above 1 by no more than the tolerance
    labels = rng.integers(0, 3, (8, 9))
    as_the_reference(np.moveaxis(p, -1, 0), labels, make_config(3, dtype, scale=scale), ())


def test_integers_above_probability_1_are_stored_as_1() -> None:
    p = np.array([[[10_005]], [[0]]], np.uint16)
    slab = condense(p, np.array([[0]]), make_config(2, "uint16", scale=1e-4))
    assert slab.self_confidence.tolist() == slab.predicted_confidence.tolist() == [[10_000]]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [2, 5, 19, 255, 300])
def test_logits_are_condensed_after_softmax(classes: int, dtype: str) -> None:
    """The package has its own exp: confidences within 1e-5, the same class unless two are that near."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 5, (classes, 8, 9)).astype(dtype)
    labels = rng.integers(-1, classes, (8, 9))
    config = make_config(classes, dtype, kind="logits", evidence="float32", lattice=3)
    storage = reference_evidence.storage_of(np.dtype(dtype), None, "logits", "float32")
    expected = reference_evidence.condense(logits, labels, (-1,), "logits", storage, 0.02)
    slab = condense(logits, labels, config, (-1,))
    values = config.evidence.values
    np.testing.assert_allclose(values(slab.self_confidence), expected.s, rtol=0, atol=1e-5)
    np.testing.assert_allclose(values(slab.predicted_confidence), expected.m, rtol=0, atol=1e-5)
    assert expected.p is not None
    second, first = np.sort(expected.p, axis=0)[-2:]
    assert ((slab.predicted_class == np.array(expected.a)) | (first - second < 1e-5)).all()
    assert slab.grid_all.sum() == classes * (labels[::3, ::3] >= 0).sum()
    assert slab.grid_labeled.sum() == (labels[::3, ::3] >= 0).sum()


# -------------------------------------------------------------------------------------------- slabs, layout


def cut(draw: st.DrawFn, length: int) -> list[slice]:
    edges = sorted({0, length, *draw(st.lists(st.integers(1, length), max_size=3))})
    return [slice(a, b) for a, b in pairwise(edges)]


@st.composite
def cuts(draw: st.DrawFn, height: int, width: int) -> list[tuple[slice, slice]]:
    """A partition of an image into windows: rows and columns cut anywhere."""
    return [(rows, columns) for rows in cut(draw, height) for columns in cut(draw, width)]


def assembled(
    p: Array, labels: Array, config: CondenseConfig, ignore: tuple[int, ...], windows: list[Any]
) -> CondensedWindow:
    whole: dict[str, Array] = {}
    counts: dict[str, Array] = {}
    for rows, columns in windows:
        slab = condense(p[:, rows, columns], labels[rows, columns], config, ignore, rows.start, columns.start)
        for name in ("self_confidence", "predicted_class", "predicted_confidence"):
            plane = getattr(slab, name)
            whole.setdefault(name, np.zeros(labels.shape, plane.dtype))[rows, columns] = plane
        for name in ("grid_labeled", "grid_all"):
            counts[name] = counts.get(name, 0) + getattr(slab, name)
    return CondensedWindow(**whole, **counts)


@pytest.mark.parametrize(
    ("dtype", "classes"), [("uint8", 5), ("uint16", 3), ("float16", 7), ("float32", 40), ("float64", 2)]
)
@a_few
@given(windows=cuts(23, 37), lattice=st.integers(1, 7))
def test_windows_of_any_shape_give_the_whole_image(dtype: str, classes: int, windows: list[Any], lattice: int) -> None:
    p, labels, ignore = one_image(classes, 23, 37, dtype)
    config = make_config(classes, dtype, lattice=lattice)
    same(assembled(p, labels, config, ignore, windows), condense(p, labels, config, ignore))


@pytest.mark.parametrize("dtype", FLOATS)
def test_windows_of_logits_give_the_whole_image(dtype: str) -> None:
    rng = np.random.default_rng(1)
    p, labels = rng.normal(0, 4, (3, 150, 500)).astype(dtype), rng.integers(0, 3, (150, 500))  # more than one strip
    config = make_config(3, dtype, kind="logits", evidence="float32", lattice=3)
    windows = [
        (rows, columns) for rows in (slice(0, 67), slice(67, 150)) for columns in (slice(0, 131), slice(131, 500))
    ]
    same(assembled(p, labels, config, (), windows), condense(p, labels, config))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(dtype, "probabilities") for dtype in drawn.DTYPES] + [(dtype, "logits") for dtype in FLOATS],
)
def test_memory_layout_and_byte_order_do_not_change_the_result(dtype: str, kind: str) -> None:
    p, labels, ignore = one_image(6, 13, 17, dtype)
    config = make_config(6, dtype, kind=kind)
    expected = condense(p, labels, config, ignore)
    channel_last = np.ascontiguousarray(np.moveaxis(p, 0, -1))
    strided = np.repeat(np.repeat(p, 2, axis=1), 2, axis=2)[:, ::2, ::2]
    swapped = p.astype(p.dtype.newbyteorder(">"))
    for other in (np.moveaxis(channel_last, -1, 0), np.asfortranarray(p), strided, swapped):
        same(condense(other, labels, config, ignore), expected)


# ---------------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_ties_go_to_the_lowest_class(dtype: str) -> None:
    one = 1 if dtype in FLOATS else np.iinfo(dtype).max
    p = np.array([[0, 0.4, 0.4, 0.2], [0.5, 0, 0, 0.5], [0.25] * 4])
    p = (p * one).astype(dtype).T.reshape(4, 1, 3)
    slab = condense(p, np.array([[2, 3, 3]]), make_config(4, dtype))
    assert slab.predicted_class.tolist() == [[1, 0, 0]]
    np.testing.assert_array_equal(slab.self_confidence, slab.predicted_confidence)


def test_ignored_pixels_keep_the_prediction_and_no_self_confidence() -> None:
    p = np.array([[0.25, 0.75], [0.75, 0.25]], np.float16).reshape(2, 1, 2)
    slab = condense(p, np.array([[255, 0]]), make_config(2, "float16", lattice=1), ignore=(255,))
    values = make_config(2, "float16").evidence.values
    assert values(slab.self_confidence).tolist() == [[0.0, 0.75]]
    assert values(slab.predicted_confidence).tolist() == [[0.75, 0.75]]
    assert slab.predicted_class.tolist() == [[1, 0]]
    assert (slab.grid_labeled.sum(), slab.grid_all.sum()) == (1, 2), "the second pixel alone, once a class"


@pytest.mark.parametrize("evidence", ["auto", "float32"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_values_within_the_range_tolerance_are_clipped(dtype: str, evidence: str) -> None:
    p = np.array([[1.0009, -0.0009], [-0.0, 1.0], [-0.0009, 1.0009]]).T.astype(dtype)[:, None, :]
    config = make_config(2, dtype, lattice=1, evidence=evidence)
    slab = condense(p, np.array([[0, 0, 0]]), config)
    assert config.evidence.values(slab.self_confidence).tolist() == [[1.0, 0.0, 0.0]]
    assert slab.self_confidence.tolist()[0][1:] == [0, 0], "no sign is left of -0.0 and -0.0009"
    assert config.evidence.values(slab.predicted_confidence).tolist() == [[1.0, 1.0, 1.0]]
    assert slab.predicted_class.tolist() == [[0, 1, 1]]
    assert slab.grid_all[:, [0, 255]].tolist() == [[2, 1], [1, 2]]


def test_predicted_class_is_found_before_rounding() -> None:
    p = np.array([0.25, 0.37499, 0.37501], np.float32).reshape(3, 1, 1)
    slab = condense(p, np.array([[1]]), make_config(3, "float32"))
    assert slab.predicted_class.tolist() == [[2]]
    assert slab.self_confidence.tolist() == slab.predicted_confidence.tolist() == [[0x3600]], "0.375 both"


# ----------------------------------------------------------------------------------------------- class planes


@pytest.mark.parametrize("classes", [2, 254, 255, 256, 300])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ignore", [(), (255,), (-1,), (0, 1, 253, 254, 255, 256, 299), (65_535,)])
def test_class_plane_marks_ignored_and_bad_labels(
    dtype: str, order: str, classes: int, ignore: tuple[int, ...]
) -> None:
    span = np.iinfo(dtype)
    edges = {-1, 0, 1, 2, *range(252, 258), 299, 300, 65_534, 65_535, 2**31, 2**53 + 1, span.min, span.max}
    values = [value for value in sorted(edges) if span.min <= value <= span.max]
    plane, bad = class_plane(np.array([values], np.dtype(dtype).newbyteorder(order)), classes, ignore)
    most = 255 if classes <= 254 else 65_535
    assert plane.dtype == class_dtype(classes) == (np.uint8 if classes <= 254 else np.uint16)
    expected = [most if v in ignore else v if 0 <= v < classes else most - 1 for v in values]
    assert plane.tolist() == [expected], "ignore values take precedence over class numbers"
    wrong = [number == most - 1 for number in expected]
    assert (None if bad is None else bad.tolist()) == ([wrong] if any(wrong) else None)


@pytest.mark.parametrize("classes", [2, 254, 300])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("offset", [1, 200, 65_535, -3])
def test_class_plane_with_an_offset(dtype: str, classes: int, offset: int) -> None:
    span = np.iinfo(dtype)
    edges = {-4, -3, -1, 0, 1, 2, 200, 201, 255, offset - 1, offset + classes - 1, offset + classes, 2**53 + 1}
    values = [value for value in sorted(edges | {span.min, span.max}) if span.min <= value <= span.max]
    plane, _ = class_plane(np.array([values], dtype), classes, (201,), (), offset)
    most = 255 if classes <= 254 else 65_535
    wanted = [most if v == 201 else v - offset if 0 <= v - offset < classes else most - 1 for v in values]
    assert plane.tolist() == [wanted]


@given(
    labels=hnp.arrays(np.int16, (3, 4), elements=st.integers(-3, 12)),
    ignore=st.sets(st.integers(-3, 12), max_size=3),
    offset=st.integers(0, 5),
)
def test_offset_gives_the_plane_of_shifted_labels_and_ignore_values(
    labels: Array, ignore: set[int], offset: int
) -> None:
    plane, _ = class_plane(labels, 4, tuple(ignore), (), offset)
    shifted, _ = class_plane(labels - offset, 4, tuple(value - offset for value in ignore))
    np.testing.assert_array_equal(plane, shifted)
    pairs = tuple((k + offset, k) for k in range(4) if k + offset not in ignore)
    if not {k for _, k in pairs} & ignore:  # a target that is an ignore value is ignored
        np.testing.assert_array_equal(plane, class_plane(labels, 4, tuple(ignore), pairs)[0])


def test_class_plane_of_booleans() -> None:
    plane, bad = class_plane(np.array([[False, True]]), 2, ())
    assert plane.tolist() == [[0, 1]]
    assert bad is None
    stored = np.array([[0, 1, 3]], np.uint8).view(bool)  # a store may hold other bytes
    assert class_plane(stored, 2, ())[0].tolist() == [[0, 1, 254]]
