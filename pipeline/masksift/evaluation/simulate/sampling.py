"""Random choice of images and random generators, from seed, error type, source name and image index only.

Blocks, workers and other images have no influence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def sample_images(seed: int, error_type: str, source: str, images: int, share: float) -> list[int]:
    """Choose round(share x images) image indices, sorted. A larger share adds images to those of a smaller one."""
    return sorted(_hash_order(seed, error_type, source, images)[: round(share * images)])


def first_share_index(seed: int, error_type: str, source: str, images: int, shares: Sequence[float]) -> list[int]:
    """Find for each image the first of the ascending shares that includes it; their number if none does."""
    first_index, order, done = [len(shares)] * images, _hash_order(seed, error_type, source, images), 0
    for number, share in enumerate(shares):
        for index in order[done : round(share * images)]:
            first_index[index] = number
        done = max(done, round(share * images))
    return first_index


def _hash_order(seed: int, error_type: str, source: str, images: int) -> list[int]:
    """Order in which a growing share includes the images."""
    return sorted(range(images), key=lambda index: _digest("image", seed, error_type, source, index))


def image_rng(seed: int, error_type: str, source: str, index: int) -> np.random.Generator:
    """Make the random generator for the error of one image."""
    return np.random.default_rng(int.from_bytes(_digest("error", seed, error_type, source, index)))


def _digest(*values: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, values)).encode()).digest()
