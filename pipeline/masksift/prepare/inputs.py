"""Array arguments of the Python API: arrays of any library, nested lists, and lists with one array per image."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError, UsageError
from masksift.core.specs import PREDICTION_DTYPES, Color
from masksift.scoring.arrays import detach, dtype_name, image_at, is_on_device, to_numpy
from masksift.scoring.kernels.decode import complete_binary
from masksift.storage.sources.validate import validate_class_colors

MASKED = -1
"""Label of masked pixels where no ignore value is given: it is no class."""


class Images:
    """Images of an argument, read one at a time.

    Args:
        value: An array (N, ...), or a sequence with one array per image.
        name: Name of the argument, for errors.
        axes: Number of axes of an image.
    """

    def __init__(self, value: Any, name: str, axes: int) -> None:
        self.name, self._arrays = name, value
        shapes = [shape[1:]] if (shape := _shape(value)) else [_shape(one) for one in value]
        lengths = {len(one) for one in shapes}
        # one channel, as torchvision reads masks
        self._channel = name == "labels" and lengths == {axes + 1} and all(one[0] == 1 for one in shapes)
        if lengths != {axes + self._channel} or not len(self):
            raise DataError(
                f"{name} {'is an array' if shape else 'is a sequence of arrays'} of shape {shape or shapes[0]}",
                f"It must be {'(N, H, W)' if axes == 2 else '(N, K, H, W)'}, or a list of "
                f"{'(H, W)' if axes == 2 else '(K, H, W)'}",
                "Reorder the axes by np.moveaxis, or add one by np.newaxis",
            )
        self._shapes = [one[self._channel :] for one in shapes]
        dtypes = {dtype_name(value)} if shape else {dtype_name(one) for one in value}
        if len(dtypes) > 1:
            raise DataError(f"{name} have the dtypes {', '.join(sorted(dtypes))}", "Cast all images to one dtype")
        self.stored_dtype = dtypes.pop()

    @property
    def dtype(self) -> str:
        """Name of the dtype of an image that is read."""
        return self.stored_dtype

    def __len__(self) -> int:
        return int(_shape(self._arrays)[0]) if _shape(self._arrays) else len(self._arrays)

    def __getitem__(self, i: int) -> Any:
        image = image_at(self._arrays, i) if _shape(self._arrays) else self._arrays[i]
        return image_at(image, 0) if self._channel else image

    def batch(self, start: int, stop: int) -> Any:
        """Return images [start, stop) of one shape: an array (n, ...) in main memory, or n elsewhere."""
        if _shape(self._arrays):
            images = image_at(self._arrays, slice(start, stop))
            if self._channel:
                images = images.reshape(stop - start, *self.shape(start))
        else:
            images = [self[i] for i in range(start, stop)]
            if any(is_on_device(image) for image in images):
                return images
            images = [to_numpy(image) for image in images]
            masked = any(isinstance(image, np.ma.MaskedArray) for image in images)
            images = np.ma.stack(images) if masked else np.stack(images)
        return images if is_on_device(images) else to_numpy(images)

    def shape(self, i: int) -> tuple[int, ...]:
        """Return the shape of an image."""
        return self._shapes[i if len(self._shapes) > 1 else 0]

    @property
    def one_shape(self) -> bool:
        """True if all images have the same shape."""
        return len(set(self._shapes)) == 1


class BinaryImages(Images):
    """Predictions of the positive class, (H, W) or (1, H, W) an image, read as both classes (2, H, W).

    Args:
        value: An array (N, ...), or a sequence with one array per image.
        name: Name of the argument, for errors.
        axes: Number of axes of an image: 2 or 3.
        kind: "probabilities" or "logits".
        scale: Probability per step of integers.
    """

    def __init__(self, value: Any, name: str, axes: int, kind: str, scale: float | None) -> None:
        super().__init__(value, name, axes)
        self._kind, self._scale = kind, scale

    @property
    def dtype(self) -> str:
        """Name of the dtype of both classes."""
        return complete_binary(np.zeros((1, 1), self.stored_dtype), self._kind, self._scale).dtype.name

    def __getitem__(self, i: int) -> Any:
        image = read_predictions(super().__getitem__(i), self.name)
        return complete_binary(to_numpy(image).reshape(self.shape(i)[1:]), self._kind, self._scale)

    def batch(self, start: int, stop: int) -> Any:
        """Return images [start, stop), (n, 2, H, W)."""
        return np.stack([self[i] for i in range(start, stop)])

    def shape(self, i: int) -> tuple[int, ...]:
        """Return the shape (2, H, W) of an image."""
        return 2, *super().shape(i)[-2:]


class LabelImages(Images):
    """Labels, (N, H, W) or one (H, W) per image; raises DataError unless they are integers."""

    def __init__(self, labels: Any) -> None:
        super().__init__(_as_sequence(labels, "labels"), "labels", 2)
        self._is_mask = False
        if np.dtype(self.dtype).kind not in "iub":
            raise DataError(f"labels have dtype {self.dtype}", "Cast them to integers: labels.astype('uint8')")

    def recognize_masks(self, ignore: Sequence[int]) -> None:
        """Read 0 and 255 as the classes 0 and 1 if all labels together hold these values and ignored ones only."""
        found = set[int]()
        if 255 not in ignore:
            for i in range(len(self)):
                labels, ignored = self.read(i, ignore)
                found |= {*np.unique(labels).tolist()} - {*ignored}
                if not found <= {0, 255}:
                    return
        self._is_mask = found == {0, 255}

    def read(self, i: int, ignore: Sequence[int]) -> tuple[NDArray[Any], tuple[int, ...]]:
        """Read one image, see `read_labels`."""
        return self._convert(self[i], ignore)

    def read_batch(
        self, start: int, stop: int, ignore: Sequence[int]
    ) -> Iterator[tuple[NDArray[Any], tuple[int, ...]]]:
        """Yield images [start, stop) of one shape, (n, H, W): together, or one by one where some have masked pixels."""
        labels = to_numpy(self.batch(start, stop))
        step = 1 if np.any(np.ma.getmask(labels)) else stop - start  # masks change the ignore values of their image
        for first in range(0, stop - start, step):
            yield self._convert(labels[first : first + step], ignore)

    def _convert(self, labels: Any, ignore: Sequence[int]) -> tuple[NDArray[Any], tuple[int, ...]]:
        converted, ignored = read_labels(labels, ignore)
        return (np.where(converted == 255, converted.dtype.type(1), converted) if self._is_mask else converted), ignored


def prediction_members(pred_probs: Any, kind: str, scale: float | None) -> list[Images]:
    """Return predictions as the members of an ensemble, usually one.

    Args:
        pred_probs: An array (N, K, H, W), a list with an array (K, H, W) per image, or, for an ensemble, a list with an
            array (N, K, H, W) per member. K = 1, or no class axis, means the positive class of two.
        kind: "probabilities" or "logits".
        scale: Probability per step of integers.

    Returns:
        The members.

    Raises:
        DataError: If it is anything else.
    """
    value = _as_sequence(pred_probs, "pred_probs")

    def images(one: Any, name: str) -> Images:
        shape = _shape(one)[1:] or _shape(one[0])
        if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
            return BinaryImages(one, name, len(shape), kind, scale)
        return Images(one, name, 3)

    if _shape(value):
        return [images(value, "pred_probs")]
    axes = {len(_shape(one)) for one in value}
    if axes == {4}:
        return [images(one, f"pred_probs[{m}]") for m, one in enumerate(value)]
    if axes not in ({2}, {3}):
        raise DataError(
            f"pred_probs is a list of arrays with {' and '.join(map(str, sorted(axes)))} axes",
            "Pass one array (K, H, W) per image, or one array (N, K, H, W) per member of an ensemble",
        )
    return [images(value, "pred_probs")]


def check_images(labels: LabelImages, members: Sequence[Images], kind: str, scale: float | None) -> int:
    """Return the number of classes.

    Args:
        labels: The labels.
        members: Predictions of each member.
        kind: "probabilities" or "logits".
        scale: Probability per step of integers.

    Returns:
        K.

    Raises:
        DataError: If counts, shapes, dtypes and options do not fit together.
    """
    ensemble = (
        "A list of arrays (N, K, H, W) is an ensemble, whose members need the same images, classes and sizes",
        "For images of several sizes pass one array (K, H, W) per image",
    )
    classes = members[0].shape(0)[0]
    for member in members:
        remedy = ensemble if len(members) > 1 else ("They must be (N, H, W) and (N, K, H, W), or lists of images",)
        if len(member) != len(labels):
            raise DataError(f"There are {len(labels)} labels and {len(member)} {member.name}", *remedy)
        for i in range(1 if labels.one_shape and member.one_shape else len(labels)):
            if member.shape(i) != (classes, *labels.shape(i)) or 0 in member.shape(i):
                raise DataError(
                    f"labels[{i}] has shape {labels.shape(i)}, {member.name}[{i}] has shape {member.shape(i)}"
                    + (f", and there are {classes} classes" if member.shape(i)[0] != classes else ""),
                    *remedy,
                )
        check_predictions(member.name, member.stored_dtype, kind, scale)
    return classes


def check_predictions(name: str, dtype: str, kind: str, scale: float | None) -> None:
    """Raise DataError unless dtype, kind and scale of predictions fit together."""
    integers = dtype in ("uint8", "uint16")
    if kind not in ("probabilities", "logits"):
        raise DataError(f"kind is {kind!r}", "Pass kind='probabilities' or kind='logits'")
    if dtype not in PREDICTION_DTYPES or (integers and kind == "logits"):
        raise DataError(
            f"{name} have dtype {dtype} and kind {kind!r}",
            "Pass uint8, uint16, float16, float32 or float64 probabilities, or float logits",
        )
    if scale is not None and not integers:
        raise DataError(f"scale is {scale}, but {name} have dtype {dtype}", "Pass scale with integers only")
    if scale is not None and not 0 < scale <= 1:
        raise DataError(f"scale is {scale}", "Pass a number in (0, 1]")


def ignore_values(ignore: Any) -> tuple[int, ...]:
    """Return the values of an argument `ignore`: one integer, several, or None. Raises UsageError for anything else."""
    values = () if ignore is None else ignore if isinstance(ignore, Iterable) else (ignore,)
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError as e:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise UsageError(f"ignore holds values of type {kinds}", "Pass an integer, or a list of integers") from e


def read_class_colors(colors: Any, classes: int) -> tuple[Color, ...]:
    """Return the colors of an argument `class_colors` (classes, 3), none for None; DataError if they are invalid."""
    if colors is None:
        return ()
    levels = [np.asarray(color).tolist() for color in colors]
    return validate_class_colors("class_colors", levels, classes)


def as_batch(value: Any, name: str) -> Any:
    """Return the array of an argument: as it is if it has shape and dtype, else as numpy."""
    value = _as_sequence(value, name)
    if _shape(value):
        return value
    arrays = [to_numpy(one) for one in value]
    if len({one.shape for one in arrays}) > 1:
        raise DataError(
            f"{name} are images of several sizes ({', '.join(sorted({str(one.shape) for one in arrays})[:3])})",
            "Pass images of one size together, or pad them",
        )
    masked = any(isinstance(one, np.ma.MaskedArray) for one in arrays)
    return np.ma.stack(arrays) if masked else np.stack(arrays)


def read_labels(labels: Any, ignore: Sequence[int], name: str = "labels") -> tuple[NDArray[Any], tuple[int, ...]]:
    """Convert labels to numpy.

    Args:
        labels: Labels of any shape and library. Masked pixels get the first ignore value, or `MASKED`.
        ignore: Ignore values.
        name: Name of the argument, for errors.

    Returns:
        The labels, integers, and the ignore values, to which `MASKED` is added where it is used.

    Raises:
        DataError: If the labels are not integers.
    """
    array, values = to_numpy(labels), tuple(ignore)
    if array.dtype.kind not in "iub":
        raise DataError(f"{name} have dtype {array.dtype}", "Cast them to integers: labels.astype('uint8')")
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    mask = np.ma.getmask(array)
    array = np.asarray(array)
    if np.any(mask):
        values = values or (MASKED,)
        fits = np.can_cast(np.min_scalar_type(values[0]), array.dtype)
        array = np.where(mask, values[0], array if fits else array.astype(np.int64))
    return array, values


def read_predictions(predictions: Any, name: str = "pred_probs") -> Any:
    """Return predictions in main memory as numpy, others as they are. Raises DataError if a value is masked."""
    if not isinstance(predictions, np.ndarray) and not hasattr(predictions, "compute"):
        return detach(predictions)
    array = to_numpy(predictions)
    if np.any(np.ma.getmask(array)):
        raise DataError(
            f"{name} have masked values", "A pixel needs the values of all classes", "Mask these pixels in the labels"
        )
    return np.asarray(array)


@contextmanager
def argument_names(**names: str) -> Iterator[None]:
    """Name arguments where errors name flags: `--tccp.lattice` becomes `lattice`, or its value in ``names``."""
    try:
        yield
    except MasksiftError as e:

        def rename(flag: re.Match[str]) -> str:
            name = flag[1].replace("-", "_")
            return names.get(name, name)

        raise type(e)(*(re.sub(r"--(?:[\w-]+\.)*([\w-]+)", rename, text) for text in e.args)) from None


def _shape(value: Any) -> tuple[int, ...]:
    return () if isinstance(value, (list, tuple)) else tuple(value.shape)


def _as_sequence(value: Any, name: str) -> Any:
    """Return an array, or a list of arrays. A value without shape and dtype is converted."""
    value = detach(value)
    if isinstance(value, (list, tuple)) or hasattr(value, "__next__") or _dtype_kind(value) == "O":
        items = [_as_array(one, f"{name}[{i}]") for i, one in enumerate(value)]
        if not items:
            raise DataError(f"{name} is empty", "Pass at least one image")
        return items
    return _as_array(value, name)


def _as_array(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (str, bytes, Mapping, Set)):
        raise DataError(f"{name} is of type {type(value).__name__}", "Pass an array, or a list of arrays")
    if not (hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")):
        try:
            value = np.asarray(value) if isinstance(value, (list, tuple, int, float)) else to_numpy(value)
        except (TypeError, ValueError, AttributeError, BufferError) as e:
            raise DataError(
                f"{name}, of type {type(value).__name__}, is no array ({str(e).splitlines()[0]})",
                "Pass an array, or a list of arrays",
            ) from e
    if _dtype_kind(value) not in "biufc":
        raise DataError(f"{name} have dtype {value.dtype}", "Pass numbers")
    if not _shape(value):
        raise DataError(f"{name} is a single number", "Pass an array, or a list of arrays")
    return value


def _dtype_kind(value: Any) -> str:
    """Kind of a dtype by numpy's letters; "O" for objects and "" for what numpy does not know."""
    if getattr(value, "dtype", None) is None:
        return ""
    try:
        return np.dtype(dtype_name(value)).kind
    except TypeError:
        return str(getattr(value.dtype, "kind", ""))
