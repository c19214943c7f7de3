"""What is drawn by lot: which images get an error, and the generator of each. By the seed, the kind, the source's name
and the image's number alone: neither blocks nor workers nor the other images have a say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def sample_images(seed: int, kind: str, source: str, images: int, share: float) -> list[int]:
    """The numbers of round(share x images) images, sorted: those whose hashes are least. With a larger share they are
    the same ones and others."""
    return sorted(_ranked(seed, kind, source, images)[: round(share * images)])


def first_share_index(seed: int, kind: str, source: str, images: int, shares: Sequence[float]) -> list[int]:
    """Of each image the number of the first of ``shares``, ascending, that it gets an error with; of one that gets none
    with any of them, how many they are."""
    joined, ranked, before = [len(shares)] * images, _ranked(seed, kind, source, images), 0
    for number, share in enumerate(shares):
        for index in ranked[before : round(share * images)]:
            joined[index] = number
        before = max(before, round(share * images))
    return joined


def _ranked(seed: int, kind: str, source: str, images: int) -> list[int]:
    """The numbers of all images, in the order in which a growing share takes them in."""
    return sorted(range(images), key=lambda index: _digest("image", seed, kind, source, index))


def image_rng(seed: int, kind: str, source: str, index: int) -> np.random.Generator:
    """The generator of one image."""
    return np.random.default_rng(int.from_bytes(_digest("error", seed, kind, source, index)))


def _digest(*words: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, words)).encode()).digest()
