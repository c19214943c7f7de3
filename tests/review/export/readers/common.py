"""What the readers answer with: JSON on the standard output, masks as packed bits."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np


def packed(mask: Any) -> dict[str, Any]:
    """A mask (H, W) as text."""
    plane = np.asarray(mask).astype(bool)
    return {"size": list(plane.shape), "bits": base64.b64encode(np.packbits(plane).tobytes()).decode()}


def answer(found: Any) -> None:
    """Everything that was read, the last line that is written."""
    sys.stdout.write("\n" + json.dumps(found, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    """Numbers of numpy as those of Python, sets as lists."""
    return value.item() if isinstance(value, np.generic) else list(value) if isinstance(value, Iterable) else str(value)
