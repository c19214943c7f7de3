"""Generated reference pages are up to date, and all pages are plain American English."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from docs.pages import GENERATED, PAGES, ROOT, prose
from test_style import WORDS


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs/generate_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(GENERATED), ids=lambda page: page.name)
def test_generated_page_equals_a_fresh_generation(generator: ModuleType, page: Path) -> None:
    assert page.read_text() == generator.PAGES[page.name](), "stale: run `make reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_has_no_archaic_or_british_words(page: Path) -> None:
    if page in GENERATED:
        pytest.skip("its words are those of the package, which test_style.py checks")
    found = [match[0] for match in WORDS.finditer(prose(page))]
    assert not found


def test_readme_has_at_most_200_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


DEPLOYMENT = [
    file
    for file in sorted((ROOT / "deploy").rglob("*"))
    if file.suffix in {".yaml", ".toml", ".py", ".sh", ".json", ""} and file.is_file()
]


@pytest.mark.parametrize("file", DEPLOYMENT, ids=lambda file: str(file.relative_to(ROOT)))
def test_deployment_file_has_no_archaic_or_british_words(file: Path) -> None:
    found = [match[0] for match in WORDS.finditer(file.read_text()) if match[0] != "is None"]
    assert not found
