"""CamVid sample next to some checkouts: its changed images, and expected metrics of the methods from an independent
NumPy computation (README of the data)."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["CAMVID", "EXPECTED", "changed"]

CAMVID = Path(__file__).parents[3] / "shared" / "camvid"

EXPECTED = {  # AUROC, AUPRC of 1 - score against "this image was changed"
    "drop": {
        "ccp": (0.716, 0.585),
        "tccp": (0.815, 0.729),
        "cil": (0.742, 0.631),
        "softmin": (0.832, 0.745),
        "clc": (0.812, 0.717),
        "iou": (0.814, 0.547),
        "coco": (0.629, 0.298),
        "class_agreement": (0.848, 0.782),
        "combined": (0.854, 0.789),
    },
    "swap": {
        "ccp": (0.933, 0.905),
        "tccp": (0.962, 0.938),
        "cil": (0.943, 0.912),
        "softmin": (0.973, 0.955),
        "clc": (0.977, 0.957),
        "iou": (0.917, 0.818),
        "coco": (0.889, 0.811),
        "class_agreement": (0.953, 0.953),
        "combined": (0.983, 0.975),
    },
    "shift": {
        "ccp": (0.794, 0.566),
        "tccp": (0.933, 0.848),
        "cil": (0.830, 0.652),
        "softmin": (0.940, 0.837),
        "clc": (0.955, 0.871),
        "iou": (0.750, 0.482),
        "coco": (0.762, 0.521),
        "class_agreement": (0.785, 0.635),
        "combined": (0.928, 0.873),
    },
}


def changed(variant: str) -> set[str]:
    """The images whose labels were changed."""
    with (CAMVID / "truth.csv").open(newline="") as file:
        return {row["image_id"] for row in csv.DictReader(file) if row["variant"] == variant}
