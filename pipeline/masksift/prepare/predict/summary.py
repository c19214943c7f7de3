"""Text that a prediction prints when it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.prepare.predict.config import PredictConfig


def format_summary(config: PredictConfig, record: Mapping[str, Any]) -> str:
    """Describe the quality of the predictions, from the content of predict.json."""
    lines = [
        f"fold {fold['fold']}: {fold['images']:,} images, predicted by a model trained on the other "
        f"{fold['trained_on']:,}: {_format_metrics(fold)}"
        for fold in record["folds"]
        if record["out_of_sample"]
    ]
    lines.append(f"all {record['images']:,} images: {_format_metrics(record)} against the given labels")
    if record["bad_labels"]:
        lines.append(f"not used for training because of invalid labels: {record['bad_labels']:,} images")
    lines += record.get("notes", [])
    if not record["out_of_sample"]:
        lines.append(
            f"{config.trainer} may have been trained on these images, and then repeats their label errors: use "
            "predictions of images that it was not trained on"
        )
    return "\n".join([*lines, f"source: {config.out} (masksift run --source {config.out})"])


def _format_metrics(metrics: Mapping[str, Any]) -> str:
    if metrics["mean_iou"] is None:
        return "no labeled pixels"
    return f"mean IoU {metrics['mean_iou']:.3f}, pixel accuracy {metrics['pixel_accuracy']:.3f}"
