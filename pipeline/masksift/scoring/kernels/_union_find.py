"""Union-find over component numbers."""

from __future__ import annotations

from masksift.scoring.kernels._jit import inner


@inner
def find_root(parents, node):
    """Return the root of a node, and shorten the path to it."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
