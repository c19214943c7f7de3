"""Limits that planning and storage share."""

from __future__ import annotations

MIB = 1 << 20

MAX_CONCURRENT_REQUESTS = 16
"""Chunks that a worker has asked of stores, or is putting there, at a time, at most."""

PREFETCH_BYTES = 32 * MIB
"""Encoded bytes of one array that are under way before they are needed, beside one chunk, from a store on a network."""
