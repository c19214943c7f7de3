"""Accessor of xarray: ``ds.masksift``."""

from __future__ import annotations

from typing import Any

import xarray as xr

from masksift.core.errors import DataError
from masksift.lazy.audit import LazyAudit, audit

_AXES = {"predictions": ("image", "class", "y", "x"), "labels": ("image", "y", "x")}


@xr.register_dataset_accessor("masksift")
class DatasetAccessor:
    """Lazy audit of a dataset with the variables `labels` (image, y, x) and `predictions` (image, class, y, x)."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def audit(self, *, labels: str = "labels", predictions: str = "predictions", **options: Any) -> LazyAudit:
        """Audit two variables of the dataset; see `masksift.lazy.audit`.

        Dimensions named image, class, y and x are brought into this order; others are taken in the order they have.
        Coordinates ``image_id`` (image,) and ``class_names`` (class,) are used unless they are passed.

        Args:
            labels: Name of the variable with the labels.
            predictions: Name of the variable with the predictions.
            options: The other arguments of `masksift.lazy.audit`.

        Returns:
            The lazy audit.

        Raises:
            DataError: If a variable is missing, or does not fit.
        """
        given, predicted = self._variable(labels, "labels"), self._variable(predictions, "predictions")
        for name, key in (("image_id", "image_ids"), ("class_names", "class_names")):
            if name in self._dataset.coords and key not in options:
                options[key] = self._dataset.coords[name].to_numpy().astype(str).tolist()
        return audit(given, predicted, **options)

    def scores(self, **options: Any) -> xr.DataArray:
        """Return the scores of `audit` as a lazy DataArray (image, score), with the names of the scores.

        Args:
            options: Arguments of `audit`.

        Returns:
            float64, NaN where an image is not scored.
        """
        found = self.audit(**options)
        coords = {"image_id": ("image", list(found.image_ids)), "score": list(found.score_names)}
        return xr.DataArray(found.scores, dims=("image", "score"), coords=coords, name="scores")

    def issue_masks(self, **options: Any) -> xr.DataArray:
        """Return the issue masks of `audit` as a lazy DataArray (image, y, x).

        Args:
            options: Arguments of `audit`.

        Returns:
            bool, True where the label is flagged.
        """
        found = self.audit(**options)
        coords = {"image_id": ("image", list(found.image_ids))}
        return xr.DataArray(found.issue_masks, dims=("image", "y", "x"), coords=coords, name="issue_masks")

    def _variable(self, name: str, role: str) -> xr.DataArray:
        if name not in self._dataset:
            raise DataError(
                f"The dataset has no variable {name!r} ({', '.join(map(str, self._dataset.data_vars))})",
                f"Pass {role}=NAME",
            )
        variable = self._dataset[name]
        axes = [axis for axis in _AXES[role] if axis in variable.dims]
        return variable.transpose(*axes) if len(axes) == variable.ndim else variable
