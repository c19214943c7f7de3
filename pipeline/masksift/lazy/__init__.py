"""Audit Dask and xarray arrays as Dask collections, which are computed on demand.

    >>> from masksift import lazy
    >>> found = lazy.audit(labels, pred_probs, ignore=255)    # doctest: +SKIP
    >>> found.scores                                          # doctest: +SKIP
    dask.array<..., shape=(20000, 11), dtype=float64, chunksize=(64, 11)>
    >>> found.issue_masks.to_zarr("issues.zarr")              # doctest: +SKIP

Importing this package also adds the accessor ``masksift`` to xarray's datasets, where xarray is installed:
``ds.masksift.audit(ignore=255).scores``.
"""

from __future__ import annotations

from importlib.util import find_spec

from masksift.lazy.audit import LazyAudit, audit

__all__ = ["LazyAudit", "audit"]

if find_spec("xarray") is not None:
    from masksift.lazy import accessor  # noqa: F401  (registers itself)
