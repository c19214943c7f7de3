"""The runs that are exported: made once, read by all."""

from __future__ import annotations

import pytest

from review.export.helpers import Made, awkward, many_classes


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run whose regions are awkward."""
    return awkward(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of 255 classes: with "no label", as many numbers as a byte has."""
    return many_classes(tmp_path_factory.mktemp("crowded"), 255)


@pytest.fixture(scope="session")
def overcrowded(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of more classes than a byte has numbers, or the palette colours."""
    return many_classes(tmp_path_factory.mktemp("overcrowded"), 300)
