"""Likely causes of quarantined images, and the options that solve them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from masksift.core.limits import RANGE_TOLERANCE
from masksift.core.specs import BINARY_MASK
from masksift.core.status import UNREADABLE

MAX_LISTED_LABELS = 8
"""Different invalid label values that an image may have before the advice speaks of noise."""
ALL_IGNORED_ADVICE = "If these images have labels, check the ignore values and the label offset."
_NO_LABEL = (-1, 255, 65535)
"""Values that label formats commonly use for pixels without a label."""


def label_advice(
    values: Sequence[int],
    classes: int,
    ignore: Sequence[int] = (),
    remap: Sequence[tuple[int, int]] = (),
    offset: int = 0,
) -> str:
    """Explain invalid labels of one image.

    Args:
        values: Different invalid values, sorted: all, or more than `MAX_LISTED_LABELS`.
        classes: Number of classes.
        ignore: Ignore values of the source. An option replaces them, so that advice repeats them.
        remap: Pairs of label value and class of the source.
        offset: Label value of class 0.

    Returns:
        Likely cause and remedy, as sentences.
    """
    if tuple(remap) == BINARY_MASK:
        return (
            "The labels are read as masks, 0 as class 0 and 255 as class 1. If other values are classes or no label, "
            "pass the meaning of every value, such as --remap 0:0,1:1 --ignore 255."
        )
    if len(values) > MAX_LISTED_LABELS:
        return (
            "Many different values are no class: lossy compression such as JPEG or interpolation changed the labels, "
            "or they number other classes than the predictions. Write the labels again as PNG, resized by nearest "
            "neighbor only, or define the class of each value in the table remap."
        )
    no_label = [value for value in values if value in _NO_LABEL and value != classes]
    others = [value for value in values if value not in no_label]
    ignored = ",".join(map(str, sorted({*ignore, *no_label})))
    if not remap and not offset and others == [classes]:
        more = f" --ignore {ignored}" if no_label else ""
        return (
            f"The labels go up to {classes}, but {classes} classes have the numbers 0 to {classes - 1}: they count "
            f"from 1, usually with 0 as no label. Pass --label_offset 1{more}."
        )
    if values == [255] and classes == 2 and not remap and not offset:
        return (
            f"If 255 is the second class of a mask of 0 and 255, pass --remap 0:0,255:1. If it means no label, pass "
            f"--ignore {ignored}."
        )
    if not others:
        listed = " and ".join(map(str, no_label))
        return f"{listed} usually {'means' if len(no_label) == 1 else 'mean'} no label. Pass --ignore {ignored}."
    listed = ", ".join(map(str, others))
    if len(others) == 1:
        return (
            f"If {listed} means no label, pass --ignore {','.join(map(str, sorted({*ignore, *values})))}. If it is a "
            "class, pass the class of every value, such as --remap 7:0,8:1."
        )
    return (
        f"{listed} are no classes of the predictions. If they number other classes, pass the class of every value, "
        "such as --remap 7:0,8:1, and the values without a label in --ignore. If lossy compression or interpolation "
        "changed the labels, write them again without loss."
    )


def probability_advice(values: Sequence[float], dtype: str, kind: str, scale: float, tolerance: float) -> str:
    """Explain an invalid pixel of predictions.

    Args:
        values: Its values of all classes; those of integers times the scale.
        dtype: Dtype of the predictions.
        kind: "probabilities" or "logits".
        scale: Probability of one step of integers.
        tolerance: Largest accepted distance of the sum from 1.

    Returns:
        Likely cause and remedy, as sentences.
    """
    total, low, high = math.fsum(values) if all(map(math.isfinite, values)) else math.nan, min(values), max(values)
    if math.isnan(total):
        overflow = " Logits beyond 65504 overflow in float16: write float32." if dtype == "float16" else ""
        return (
            "NaN and infinity mark pixels without a prediction, or an overflow. Write finite predictions for all "
            f"pixels; the sizes of padded images belong in the arrays height and width.{overflow}"
        )
    if kind == "logits":
        return "Write finite logits within the range of float32."
    if total == 0 == low == high:
        return (
            "The predictions are 0 for all classes: the model did not predict this pixel. Write predictions for all "
            "pixels; the sizes of padded images belong in the arrays height and width."
        )
    if "int" in dtype and (steps := round(total / scale)) > 0:
        return (
            f"The stored numbers of this pixel sum to {steps}. If they are probabilities in other steps, pass the "
            f"probability of one step: --scale {1 / steps:.6g}."
        )
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        for unit, name in ((100, "percentages"), (255, "8-bit steps")):
            if low >= 0 and abs(total / unit - 1) <= 0.02:
                return f"The predictions seem to be {name}. Divide them by {unit} when they are written."
        if abs(total - 1) <= tolerance and len(values) == 2:
            return (
                "If the predictions are logits of the positive class, the output of the network before the sigmoid, "
                "pass --kind logits. If an interpolation such as bicubic overshoots, clip them when they are written."
            )
        if abs(total - 1) <= tolerance:
            return (
                "The sum over the classes is 1, but some are outside [0, 1]: an interpolation such as bicubic "
                "overshoots. Clip the probabilities when they are written."
            )
        return (
            "The predictions are no probabilities. If they are logits, the output of the network before softmax, pass "
            "--kind logits."
        )
    return (
        "The values are in [0, 1], but do not sum to 1 over the classes. If the model has a sigmoid per class, write "
        "its logits and pass --kind logits, or divide the values by their sum when they are written. If they were "
        "rounded or resampled, accept the deviation with --sum_tolerance, such as 0.1."
    )


def chunk_advice(status: str, *, labels: bool) -> str:
    """Explain a chunk that is missing or does not decode, of the labels or of the predictions."""
    if status == UNREADABLE:
        return "The chunk is damaged. Copy or write it again."
    if labels:
        return (
            "Zarr does not store chunks that hold only the fill value. If these labels are all equal to it, pass "
            "--arrays.empty_label_chunks fill; otherwise write them again."
        )
    return "The predictions of these images were not written. Let the writer finish, or write them again."


def advice_template(advice: str | None) -> str:
    """Return the advice without its numbers, to count images with one cause."""
    return re.sub(r"(?:-?\d[\d.e:-]*,? ?)+", "#", advice or "")
