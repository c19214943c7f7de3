"""Trainers are built from their name, equally on any worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from masksift.prepare.predict.trainers import TrainerSpec, trainer_kind
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from masksift.storage.credentials import StorageOptions
from prepare.predict.helpers import MEMORIZER


def make_spec(name: str, directory: str = "/", seed: int = 0) -> TrainerSpec:
    return TrainerSpec(name, directory, 3, 255, seed, 0.5, {}, StorageOptions())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pixels", "pixels"),
        ("torch", "torch"),
        ("a.b:make", "module"),
        ("s3://lake/m.onnx", "onnx"),
        ("m.onnx", "onnx"),
        ("hf:nvidia/segformer-b0-finetuned-ade-512-512", "transformers"),
        ("hf:model", "transformers"),
    ],
)
def test_name_determines_the_kind(name: str, kind: str) -> None:
    assert trainer_kind(name) == kind


def test_factory_receives_arguments_and_a_seed_per_fold(tmp_path: Path) -> None:
    (tmp_path / "three_arguments.py").write_text(MEMORIZER)
    trainers: list[Any] = [
        make_spec("three_arguments:Memorizer", str(tmp_path), seed).build(fold)
        for seed, fold in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert {(trainer.classes, trainer.ignored) for trainer in trainers} == {(3, 255)}
    seeds = [trainer.seed for trainer in trainers]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 1 << 32 for seed in seeds)


def test_pixels_is_built_in() -> None:
    assert isinstance(make_spec("pixels").build(0), PixelTrainer)


def test_model_file_is_found_by_relative_and_absolute_path_and_url(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.onnx").write_bytes(b"weights")
    (tmp_path / "m.onnx").write_bytes(b"others")
    assert make_spec("deep/m.onnx", str(tmp_path)).read_model() == b"weights"
    assert make_spec("m.onnx", str(tmp_path)).read_model() == b"others"
    assert make_spec(str(tmp_path / "m.onnx"), os.sep).read_model() == b"others"
    assert make_spec(f"file://{tmp_path}/m.onnx", os.sep).read_model() == b"others"
