"""Images that annotations are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annotations.helpers import H, W
from prepare.ingest.helpers import save_image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images `a.png` and `b.png`."""
    for name in "ab":
        save_image(tmp_path / "images" / f"{name}.png", np.zeros((H, W, 3), np.uint8))
    return tmp_path / "images"
