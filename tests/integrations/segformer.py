"""A small SegFormer with random weights, and its image processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from integrations.helpers import NAMES

__all__ = ["make_segformer", "save_segformer"]


def make_segformer(names: Sequence[str] = NAMES) -> Any:
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: k for k, name in enumerate(names)},
    )
    model = SegformerForSemanticSegmentation(config).eval()
    for parameter in model.decode_head.classifier.parameters():
        torch.nn.init.normal_(parameter, std=2)
    return model


def save_segformer(folder: Path, names: Sequence[str] = NAMES, **processor: Any) -> Path:
    """Save a model and its processor, which resizes images to 32 x 32 by default."""
    from transformers import SegformerImageProcessorPil

    make_segformer(names).save_pretrained(folder)
    SegformerImageProcessorPil(**{"size": {"height": 32, "width": 32}, **processor}).save_pretrained(folder)
    return folder
