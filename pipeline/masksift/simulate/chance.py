"""What is drawn by lot: which images get an error, and the generator of each. By the seed, the kind, the source's name
and the image's number alone: neither blocks nor workers nor the other images have a say."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["chosen", "generator_of"]


def chosen(seed: int, kind: str, source: str, images: int, share: float) -> list[int]:
    """The numbers of round(share x images) images, sorted: those whose hashes are least. With a larger share they are
    the same ones and others."""
    ranked = sorted(range(images), key=lambda index: _digest("image", seed, kind, source, index))
    return sorted(ranked[: round(share * images)])


def generator_of(seed: int, kind: str, source: str, index: int) -> np.random.Generator:
    """The generator of one image."""
    return np.random.default_rng(int.from_bytes(_digest("error", seed, kind, source, index)))


def _digest(*words: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, words)).encode()).digest()
