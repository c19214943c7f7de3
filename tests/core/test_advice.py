"""Advice for quarantined images: the likely cause and the option for it, and no wrong one."""

from __future__ import annotations

import math

import pytest

from masksift.core.advice import advice_template, chunk_advice, label_advice, probability_advice
from masksift.core.specs import BINARY_MASK

LABELS = {
    "labels from 1": (([19], 19, (255,)), "Pass --label_offset 1."),
    "labels from 1, and 255": (([19, 255], 19), "Pass --label_offset 1 --ignore 255."),
    "labels from 1 of two classes": (([2], 2), "Pass --label_offset 1."),
    "labels from 1 of 255 classes": (([255], 255), "Pass --label_offset 1."),
    "no label": (([255], 19), "255 usually means no label. Pass --ignore 255."),
    "no label, besides another": (([255], 19, (18,)), "Pass --ignore 18,255."),
    "two values without a label": (([-1, 255], 19), "-1 and 255 usually mean no label. Pass --ignore -1,255."),
    "mask or no label": (([255], 2), "pass --remap 0:0,255:1. If it means no label, pass --ignore 255."),
    "another value": (
        ([77], 19, (255,)),
        "If 77 means no label, pass --ignore 77,255. If it is a class, pass the class",
    ),
    "ids of another table": (([33, 34], 19), "If they number other classes, pass the class of every value, such as"),
    "noise": ((list(range(3, 12)), 3), "lossy compression such as JPEG or interpolation changed the labels"),
    "other values of a mask": (
        ([7], 2, (), BINARY_MASK),
        "The labels are read as masks, 0 as class 0 and 255 as class 1",
    ),
    "more classes after an offset": (([20], 19, (0,), (), 1), "If 20 means no label, pass --ignore 0,20."),
}


@pytest.mark.parametrize("case", LABELS)
def test_label_advice_names_cause_and_option(case: str) -> None:
    args, wanted = LABELS[case]
    advice = label_advice(*args)
    assert wanted in advice
    if case.startswith("labels from"):
        assert f"--ignore {args[1]}" not in advice
    if case == "noise":
        assert "--remap" not in advice
        assert "--ignore" not in advice


PIXELS = {
    "sigmoid": ([0.9, 0.8, 0.3], "float32", "If the model has a sigmoid per class"),
    "sigmoid by chance near 1": ([0.9, 0.05, 0.0], "float32", "If the model has a sigmoid per class"),
    "logits": ([4.0, -2.0, 0.5], "float32", "pass --kind logits"),
    "positive logits": ([4.0, 2.0, 0.5], "float16", "pass --kind logits"),
    "percentages": ([70.0, 20.0, 10.0], "float32", "Divide them by 100"),
    "8-bit floats": ([200.0, 50.0, 5.0], "float32", "Divide them by 255"),
    "overshoot": ([1.02, -0.02, 0.0], "float32", "Clip the probabilities"),
    "nothing": ([0.0, 0.0, 0.0], "float32", "did not predict this pixel"),
    "nothing in integers": ([0.0, 0.0, 0.0], "uint8", "did not predict this pixel"),
    "other steps": ([150 / 255, 40 / 255, 10 / 255], "uint8", "--scale 0.005."),
    "NaN": ([math.nan, 0.5, 0.5], "float32", "NaN and infinity mark pixels without a prediction"),
    "overflow": ([math.inf, 0.0, 0.0], "float16", "overflow in float16: write float32"),
    "logits of the positive class": ([-2.5, 3.5], "float32", "logits of the positive class"),
}


@pytest.mark.parametrize("case", PIXELS)
def test_probability_advice_names_cause_and_remedy(case: str) -> None:
    values, dtype, wanted = PIXELS[case]
    advice = probability_advice(values, dtype, "probabilities", 1 / 255 if "uint" in dtype else 1.0, 0.02)
    assert wanted in advice
    assert ("--kind logits" in advice) == ("logits" in case or "sigmoid" in case)


def test_advice_for_chunks_depends_on_the_array() -> None:
    assert "--arrays.empty_label_chunks fill" in chunk_advice("missing_chunk", labels=True)
    assert "--arrays" not in chunk_advice("missing_chunk", labels=False)
    assert chunk_advice("unreadable", labels=True) == chunk_advice("unreadable", labels=False)


def test_advice_template_is_equal_for_other_numbers() -> None:
    assert advice_template(label_advice([3], 3)) == advice_template(label_advice([19], 19, (255,)))
    assert advice_template(label_advice([33, 34], 19)) == advice_template(label_advice([20, -5, 26], 19, (255, 7)))
    assert advice_template(label_advice([255], 3)) != advice_template(label_advice([3], 3))
