"""How a trainer is named and built: the same words, the same trainer, on any worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from masksift.prepare.predict.trainers import TrainerSpec, kind_of
from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer
from masksift.storage.credentials import StorageOptions
from prepare.predict.helpers import MEMORISER


def words(name: str, home: str = "/", seed: int = 0, **told: Any) -> TrainerSpec:
    return TrainerSpec(name, home, 3, 255, seed, 0.5, told, StorageOptions())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pixels", "pixels"),
        ("torch", "torch"),
        ("a.b:make", "module"),
        ("s3://lake/m.onnx", "onnx"),
        ("m.onnx", "onnx"),
    ],
)
def test_a_name_says_what_kind_it_is(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_factory_gets_the_facts_and_a_seed_of_its_fold(tmp_path: Path) -> None:
    (tmp_path / "three_facts.py").write_text(MEMORISER)
    made: list[Any] = [
        words("three_facts:Memoriser", str(tmp_path), seed).trainer(fold)
        for seed, fold in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert {(trainer.classes, trainer.ignored) for trainer in made} == {(3, 255)}
    seeds = [trainer.seed for trainer in made]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 1 << 32 for seed in seeds)


def test_pixels_are_built_in() -> None:
    assert isinstance(words("pixels").trainer(0), PixelTrainer)


def test_a_file_is_found_from_where_the_command_was_typed_by_path_and_by_url(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.onnx").write_bytes(b"weights")
    (tmp_path / "m.onnx").write_bytes(b"others")
    assert words("deep/m.onnx", str(tmp_path)).file() == b"weights"
    assert words("m.onnx", str(tmp_path)).file() == b"others"
    assert words(str(tmp_path / "m.onnx"), os.sep).file() == b"others"
    assert words(f"file://{tmp_path}/m.onnx", os.sep).file() == b"others"
