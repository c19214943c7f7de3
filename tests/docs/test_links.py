"""Links between pages, and files, modules and public names that pages mention, exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import masksift
from docs.pages import PAGES, ROOT, blocks
from masksift import lazy

NEW_FILES = {
    "pipeline/masksift/scoring/methods/worst.py",
    "tests/scoring/methods/test_worst.py",
    "docs/assets/page.png",
}
"""Files that the reader of a page creates."""
PRIVATE_BASES = {"SourceWriter"}
"""Classes that the Python reference shows because public classes share their arguments."""


def heading_anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?^ *```", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in heading_anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = set(
        re.findall(r"(?<![\w/.-])((?:pipeline|tests|deploy|docs|notebooks|\.github)/[\w./-]*\w)", page.read_text())
    )
    missing = [name for name in named - NEW_FILES if not (ROOT / name).exists() and not (page.parent / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text() + "".join(block.text for block in blocks(page))
    for name in set(re.findall(r"`(masksift(?:\.\w+)+)(?<!\.yaml)`|\b(masksift(?:\.\w+)+)\]", text)):
        path = (name[0] or name[1]).split(".")
        for length in range(len(path), 0, -1):
            try:
                owner = importlib.import_module(".".join(path[:length]))
            except ImportError:
                continue
            for attribute in path[length:]:
                owner = getattr(owner, attribute)
            break


def test_api_page_documents_every_public_name() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    paths = re.findall(r"^::: (\S+)$", page, re.M)
    of_lazy = {path.rpartition(".")[2] for path in paths if path.startswith("masksift.lazy.")}
    others = ("masksift.lazy.", "masksift.integrations.")
    documented = {path.rpartition(".")[2] for path in paths if not path.startswith(others)}
    assert documented - PRIVATE_BASES == set(masksift.__all__) - {"__version__"}
    assert of_lazy == {*lazy.__all__, "DatasetAccessor"}
    adapters = set()
    for module in (ROOT / "pipeline/masksift/integrations").glob(
        "*.py"
    ):  # not imported: their frameworks may be absent
        names = re.search(r"^__all__ = \[(.*?)\]", module.read_text(), re.M | re.S)
        adapters |= {
            f"masksift.integrations.{module.stem}.{name}" for name in re.findall(r"\w+", names[1] if names else "")
        }
    assert {path for path in paths if path.startswith("masksift.integrations.")} == adapters


def test_navigation_lists_every_page() -> None:
    named = set(re.findall(r"([\w/-]+\.md)$", (ROOT / ".mkdocs.yml").read_text(), re.M))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
