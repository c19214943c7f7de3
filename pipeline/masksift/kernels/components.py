"""Connected components of a class plane, through connected-components-3d."""

from __future__ import annotations

import cc3d
import numpy as np
from numba import njit
from numpy.typing import NDArray

from masksift.kernels.encoding import Encoding
from masksift.kernels.tally import _half_to_fixed

__all__ = ["component_means"]


@njit(cache=True, nogil=True)
def _sum_by_component(components, codes, mode, singles, areas, fixed, floats):
    for j in range(components.size):
        number = components[j]
        areas[number] += 1
        if mode == 0:
            fixed[number] += np.int64(codes[j])
        elif mode == 1:
            fixed[number] += _half_to_fixed(codes[j])
        else:
            floats[number] += np.float64(singles[j])


def component_means(
    plane: NDArray[np.unsignedinteger],
    valid: NDArray[np.bool_],
    self_confidence: NDArray[np.unsignedinteger],
    encoding: Encoding,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Areas (pixels) and mean self-confidences of the 8-connected components of one class plane.

    ``plane`` (H, W): class numbers; ``valid`` (H, W): pixels outside belong to no component;
    ``self_confidence`` (H, W): codes. A component is a maximal 8-connected set of valid pixels of one class.
    """
    # The library takes 0 for background, so that classes are shifted by one.
    shifted = np.where(valid, plane + plane.dtype.type(1), plane.dtype.type(0))
    components, count = cc3d.connected_components(shifted, connectivity=8, return_N=True)
    codes = np.ascontiguousarray(self_confidence).reshape(-1)
    singles = codes.view(np.float32) if encoding.dtype == "float32" else np.empty(0, np.float32)
    mode = 2 if encoding.dtype == "float32" else 1 if encoding.dtype == "float16" else 0
    areas = np.zeros(count + 1, np.int64)
    fixed = np.zeros(count + 1 if mode < 2 else 0, np.int64)
    floats = np.zeros(count + 1 if mode == 2 else 0, np.float64)
    _sum_by_component(components.reshape(-1), codes, mode, singles, areas, fixed, floats)
    totals = floats[1:] if mode == 2 else fixed[1:] * float(encoding.unit)
    return areas[1:], totals / areas[1:]
