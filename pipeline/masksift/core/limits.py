"""Limits shared by planning and storage."""

from __future__ import annotations

MIB = 1 << 20

RANGE_TOLERANCE = 1e-3
"""Largest accepted distance of a probability from [0, 1]."""

FIRST_IMAGES = 32
"""A run stops if this many images at its start are quarantined with one status."""

MAX_CONCURRENT_REQUESTS = 16
"""Chunk requests, reads and writes together, that a worker runs at a time."""

PREFETCH_BYTES = 32 * MIB
"""Encoded bytes of one array that are requested ahead of use from a network store, besides one chunk."""

MAX_CONCURRENT_SOURCES = 64
"""Sources that the client opens, or whose arrays it creates, at a time: each waits for three round trips to a store."""

MAX_CONCURRENT_METADATA_REQUESTS = 128
"""Requests for metadata, of a few hundred bytes each, that the client runs at a time."""
