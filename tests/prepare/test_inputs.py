"""Arguments of the Python API: arrays of any library, nested lists, lists of images, masks, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.array
import numpy as np
import pandas
import pyarrow as pa
import pytest
import xarray
import zarr

import masksift
from masksift.core.errors import DataError, UsageError
from support.accelerator import Accelerator, accelerator
from support.datasets import make_dataset
from support.errors import raises

__all__ = ["accelerator"]

DATA = make_dataset(5, images=3, classes=4, height=11, width=13, dtype="float32")
LABELS, PREDICTIONS = DATA.labels, DATA.predictions


class ArrayOnly:
    """Object with ``__array__`` and nothing else."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self._values, dtype)


class Tensor(ArrayOnly):
    """Tensor that refuses conversion while it requires a gradient, as torch's do."""

    def __init__(self, values: Any, requires_grad: bool = True) -> None:
        super().__init__(values)
        self.shape, self.dtype, self._requires_grad = values.shape, f"torch.{values.dtype}", requires_grad

    def detach(self) -> Tensor:
        return Tensor(self._values, requires_grad=False)

    def __getitem__(self, i: Any) -> Tensor:
        return Tensor(self._values[i], self._requires_grad)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self._requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return super().__array__(dtype)


def series_of(values: Any) -> Any:
    return pandas.Series(list(values))


def object_array(values: Any) -> Any:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def iterate(values: Any) -> Iterator[Any]:
    yield from values


FORMS = {
    "nested lists": lambda values: values.tolist(),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "list of nested lists": lambda values: [one.tolist() for one in values],
    "array only": ArrayOnly,
    "list of array only": lambda values: [ArrayOnly(one) for one in values],
    "tensor": Tensor,
    "list of tensors": lambda values: [Tensor(one) for one in values],
    "series": series_of,
    "object array": object_array,
    "iterator": iterate,
    "xarray": xarray.DataArray,
    "dask": dask.array.from_array,
    "list of dask": lambda values: [dask.array.from_array(one) for one in values],
    "masked array without mask": np.ma.asarray,
}


def tables_of(audit: masksift.Audit) -> list[pa.Table]:
    return [audit.images, audit.ranking, audit.regions, audit.thresholds, audit.class_pairs, audit.class_quality]


def assert_same(found: masksift.Audit, wanted: masksift.Audit) -> None:
    assert all(one.equals(other) for one, other in zip(tables_of(found), tables_of(wanted), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_audit_of_any_form_equals_the_audit_of_arrays(form: str) -> None:
    predictions = PREDICTIONS.astype(np.float64)  # nested lists hold 64 bits
    wanted = masksift.audit(LABELS, predictions, ignore=255)
    assert_same(masksift.audit(FORMS[form](LABELS), FORMS[form](predictions), ignore=[255]), wanted)


@pytest.mark.parametrize("form", [name for name in FORMS if name not in ("iterator", "series", "object array")])
def test_condense_and_writers_take_any_form(form: str, tmp_path: Any) -> None:
    make = FORMS[form]
    predictions = PREDICTIONS.astype(np.float64)
    for index in range(2):
        found = masksift.condense(make(predictions[index]), make(LABELS[index]), ignore=255)
        wanted = masksift.condense(predictions[index], LABELS[index], ignore=255)
        for plane, other in zip(found.arrays, wanted.arrays, strict=True):
            np.testing.assert_array_equal(plane, other)
    args = {"images": 3, "height": 11, "width": 13, "classes": 4, "ignore": 255, "dtype": "float64"}
    contents = []
    for name, change in (("found", make), ("wanted", lambda values: values)):
        with masksift.EvidenceWriter(str(tmp_path / name), **args) as writer:
            writer.write(change(predictions), change(LABELS))
        planes = (tmp_path / name).rglob("c/*/*/*")
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in planes if path.is_file()})
    assert contents[0] == contents[1] != {}


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16"])
def test_labels_of_any_integer_dtype_are_read(dtype: str) -> None:
    labels = (LABELS == 1).astype(dtype)
    assert_same(masksift.audit(labels, PREDICTIONS), masksift.audit(labels.astype(np.uint8), PREDICTIONS))


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_masks_of_0_and_255_are_two_classes(dtype: str) -> None:
    masks, positive = (LABELS == 1).astype(dtype), PREDICTIONS[:, 1]
    wanted = masksift.audit(masks, positive)
    assert_same(masksift.audit(masks * 255, positive), wanted)
    ignored = np.where(LABELS == 2, 7, masks * 255)
    assert_same(
        masksift.audit(ignored, positive, ignore=7), masksift.audit(np.where(LABELS == 2, 7, masks), positive, ignore=7)
    )
    with pytest.warns(UserWarning, match=r"label 3 at"):
        masksift.audit(masks * 252 + 3, positive)
    assert masksift.audit(masks * 255, positive, ignore=255).thresholds["pixels"].to_pylist()[1] == 0


def test_labels_with_one_channel_are_read() -> None:
    wanted = masksift.audit(LABELS, PREDICTIONS, ignore=255)
    assert_same(masksift.audit(LABELS[:, None], PREDICTIONS, ignore=255), wanted)
    assert_same(masksift.audit(list(LABELS[:, None]), list(PREDICTIONS), ignore=255), wanted)


def test_images_of_several_sizes_are_audited_as_each_alone() -> None:
    sizes = [(11, 13), (5, 13), (11, 7)]
    labels = [one[:h, :w] for one, (h, w) in zip(LABELS, sizes, strict=True)]
    predictions = [one[:, :h, :w] for one, (h, w) in zip(PREDICTIONS, sizes, strict=True)]
    audit = masksift.audit(labels, predictions, ignore=255)
    assert [(row["height"], row["width"]) for row in audit.images.to_pylist()] == sizes
    assert [audit.issues(i).shape for i in range(3)] == sizes
    for i in range(3):
        alone = masksift.audit(labels[i : i + 1], predictions[i : i + 1], ignore=255)
        for score in ("ccp", "cil", "softmin"):  # those that need no threshold
            assert audit.images[score][i] == alone.images[score][0]


def test_list_of_arrays_with_4_axes_is_an_ensemble() -> None:
    ensemble = masksift.audit(LABELS, [PREDICTIONS, PREDICTIONS], ignore=255)
    assert "pred_probs[1]" in ensemble._config.arrays.predictions
    assert len(ensemble.images) == 3


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("ignore", [(), (255,), (3, 255)])
def test_masked_labels_are_ignored(dtype: str, ignore: tuple[int, ...]) -> None:
    labels = np.where(LABELS == 255, 0, LABELS).astype(dtype)
    mask = np.zeros(labels.shape, bool)
    mask[:, 2:5, 3:9] = True
    masked = np.ma.array(labels, mask=mask)
    plain = np.where(mask, 255, labels)
    wanted = masksift.audit(plain, PREDICTIONS, ignore=(*ignore, 255))
    for form in (masked, dask.array.from_array(masked), list(masked), [np.ma.array(one) for one in masked]):
        assert_same(masksift.audit(form, PREDICTIONS, ignore=ignore), wanted)
    planes = masksift.condense(PREDICTIONS[0], masked[0], ignore=ignore)
    assert not planes.self_confidence[mask[0]].any()


def test_masked_labels_get_the_ignore_value_of_the_writer(tmp_path: Any) -> None:
    args = {"images": 3, "height": 11, "width": 13, "classes": 4}
    masked = np.ma.array(np.zeros_like(LABELS), mask=LABELS == 1)
    with masksift.PredictionWriter(str(tmp_path / "a"), **args, ignore=200) as writer:
        writer.write(PREDICTIONS, masked)
    stored = np.asarray(zarr.open_group(tmp_path / "a", mode="r")["labels"])
    np.testing.assert_array_equal(stored, np.where(LABELS == 1, 200, 0))
    for writer_class in (masksift.PredictionWriter, masksift.EvidenceWriter):
        writer = writer_class(str(tmp_path / writer_class.__name__), **args)
        with raises(DataError, r"labels have masked pixels, but .* has no ignore value\. Pass ignore=VALUE"):
            writer.write(PREDICTIONS, masked)


def test_masked_predictions_are_refused(tmp_path: Any) -> None:
    masked = np.ma.array(PREDICTIONS, mask=PREDICTIONS > 0.99)
    writer = masksift.EvidenceWriter(str(tmp_path / "a"), images=3, height=11, width=13, classes=4)
    for call in (
        lambda: masksift.audit(LABELS, masked),
        lambda: masksift.audit(LABELS, dask.array.from_array(masked)),
        lambda: masksift.condense(masked[0], LABELS[0]),
        lambda: writer.write(masked, LABELS),
    ):
        with raises(DataError, r"pred_probs have masked values\. .*Mask these pixels in the labels"):
            call()


@pytest.mark.parametrize(
    ("labels", "pred_probs", "match"),
    [
        (None, PREDICTIONS, r"labels is of type NoneType\. Pass an array, or a list of arrays"),
        (LABELS, None, r"pred_probs is of type NoneType"),
        ([LABELS[0], None, LABELS[2]], PREDICTIONS, r"labels\[1\] is of type NoneType"),
        ("labels.npy", PREDICTIONS, r"labels is of type str"),
        ({"a": LABELS}, PREDICTIONS, r"labels is of type dict"),
        (xarray.Dataset({"a": 1}), PREDICTIONS, r"labels is of type Dataset"),
        (object(), PREDICTIONS, r"labels, of type object, is no array"),
        (5, PREDICTIONS, r"labels is a single number"),
        ([], PREDICTIONS, r"labels is empty"),
        ([[[0, 1], [0]]], PREDICTIONS, r"labels\[0\], of type list, is no array \(setting an array element"),
        ([[["a", "b"]]], PREDICTIONS, r"labels\[0\] have dtype <U1"),
        (LABELS, list(PREDICTIONS[:2]), r"There are 3 labels and 2 pred_probs"),
        (
            LABELS,
            list(PREDICTIONS[:, :, :5]),
            r"labels\[0\] has shape \(11, 13\), pred_probs\[0\] has shape \(4, 5, 13\)",
        ),
        (
            LABELS,
            [*PREDICTIONS[:2], PREDICTIONS[2, :3]],
            r"pred_probs\[2\] has shape \(3, 11, 13\), and there are 4 classes",
        ),
        (
            LABELS,
            [PREDICTIONS[0], PREDICTIONS],
            r"list of arrays with 3 and 4 axes\. Pass one array \(K, H, W\) per image",
        ),
        (
            LABELS,
            [PREDICTIONS, PREDICTIONS[:, :, :5]],
            r"pred_probs\[1\]\[0\] has shape \(4, 5, 13\)\. A list of arrays \(N, K, H, W\) is an ensemble, .*"
            r"For images of several sizes pass one array \(K, H, W\) per image",
        ),
        (LABELS, [one.astype(f"f{4 + 4 * (i == 1)}") for i, one in enumerate(PREDICTIONS)], "dtypes float32, float64"),
    ],
)
def test_arguments_that_are_no_images_are_refused_by_name(labels: Any, pred_probs: Any, match: str) -> None:
    with raises(DataError, match):
        masksift.audit(labels, pred_probs)


def test_ignore_values_must_be_integers() -> None:
    for ignore in ("255", 2.5, [None]):
        with raises(UsageError, r"ignore holds values of type .*\. Pass an integer, or a list of integers"):
            masksift.audit(LABELS, PREDICTIONS, ignore=ignore)  # type: ignore[arg-type]
    for same in (np.int64(255), [255], np.array([255]), {255}):
        assert_same(masksift.audit(LABELS, PREDICTIONS, ignore=same), masksift.audit(LABELS, PREDICTIONS, ignore=255))
    masksift.audit(np.zeros_like(LABELS), PREDICTIONS, ignore=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda p: np.log(p + 1e-3), {}, r"None of the 3 images could be scored .*pass kind='logits'"),
        (lambda p: p / 3, {}, r"the values sum to .* as of a sigmoid, must be divided by their sum"),
        (
            lambda p: np.full_like(p, np.nan),
            {"kind": "logits"},
            r"not all logits are finite.*Correct the model's outputs",
        ),
        (lambda p: p, {"ignore": ()}, r"bad_labels: label 255 .* pass ignore=VALUE"),
    ],
)
def test_audit_without_a_scored_image_warns_with_cause_and_argument(change: Any, options: Any, match: str) -> None:
    labels = LABELS.copy()
    labels[:, 0, 0] = 255
    with pytest.warns(UserWarning, match=match) as caught:
        masksift.audit(labels, change(PREDICTIONS), **{"ignore": 255, **options})
    assert caught[0].filename == __file__, "the warning names the line of the caller"


def test_audit_of_an_accelerator_equals_that_of_main_memory(accelerator: Accelerator) -> None:
    wanted = masksift.audit(LABELS, PREDICTIONS, ignore=255)
    assert_same(masksift.audit(accelerator.put(LABELS), accelerator.put(PREDICTIONS), ignore=255), wanted)
    assert (4 * 11 * 13,) not in accelerator.copied
    ensemble = masksift.audit(LABELS, [accelerator.put(PREDICTIONS)] * 2, ignore=255)
    assert_same(ensemble, masksift.audit(LABELS, [PREDICTIONS] * 2, ignore=255))
