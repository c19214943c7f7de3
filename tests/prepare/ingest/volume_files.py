"""Volumes with known voxels, written by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from support.datasets import Array

AFFINE = np.diag([-1.0, 2.0, 3.0, 1.0])
"""Voxels of 1 x 2 x 3 mm whose x runs to the left."""


def write_volume(path: Path, values: Array, affine: Any = AFFINE) -> Path:
    """Write a volume (x, y, z), or (x, y, z, K), as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path
