"""Output of the readers: JSON on standard output, masks as packed bits."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np


def encode_mask(mask: Any) -> dict[str, Any]:
    """Encode a mask (H, W) as its size and its packed bits in base64."""
    plane = np.asarray(mask).astype(bool)
    return {"size": list(plane.shape), "bits": base64.b64encode(np.packbits(plane).tobytes()).decode()}


def write_result(content: Any) -> None:
    """Write the content that was read as the last line of standard output."""
    sys.stdout.write("\n" + json.dumps(content, default=_to_builtin) + "\n")


def _to_builtin(value: Any) -> Any:
    """Convert NumPy scalars to Python numbers and iterables to lists."""
    return value.item() if isinstance(value, np.generic) else list(value) if isinstance(value, Iterable) else str(value)
