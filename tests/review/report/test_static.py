"""What lies in the package for the page: it is whole, asks nobody for anything, and makes no markup of data."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from system.report_page.fake_reports import STATIC

FILES = sorted(STATIC.iterdir())
CODE = [file for file in FILES if file.suffix == ".js"]
REPOSITORY = Path(__file__).parents[3]


def test_every_file_that_the_page_names_is_there_and_no_other_one() -> None:
    page = (STATIC / "index.html").read_text()
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert named | {"index.html"} == {file.name for file in FILES}


def test_every_file_is_part_of_the_package() -> None:
    told = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["masksift"]
    package = STATIC.parents[2]
    assert {file for pattern in told for file in package.glob(pattern)} >= set(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_names_an_address(file: Path) -> None:
    text = file.read_text(encoding="ascii" if file.suffix in {".html", ".svg"} else "utf-8")
    found = re.findall(r"""(?:[a-z]+:)?//[\w.-]+\.\w+[^\s"')]*|@import|\burl\(""", text)
    assert [address for address in found if address != "http://www.w3.org/2000/svg"] == []


@pytest.mark.parametrize("file", CODE, ids=lambda file: file.name)
def test_no_script_makes_markup_or_code_of_text(file: Path) -> None:
    made = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*[\"'`]|srcdoc"
    assert re.findall(made, file.read_text()) == []
    assert re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", file.read_text()) == []


@pytest.mark.parametrize("file", CODE, ids=lambda file: file.name)
def test_every_script_is_strict(file: Path) -> None:
    assert '"use strict";' in file.read_text().splitlines()[:6]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_is_of_a_size_that_can_be_read(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) < 400
    assert all(len(line) <= 120 for line in lines if "Content-Security-Policy" not in line and "<path" not in line)


def test_the_page_allows_no_other_place() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', (STATIC / "index.html").read_text())
    rules = {name: words for name, *words in (rule.split() for rule in policy.split(";"))}
    assert rules["default-src"] == ["'none'"]
    assert {word for name in ("script-src", "style-src", "img-src") for word in rules[name]} == {"'self'"}
    assert {name: rules[name] for name in ("base-uri", "form-action", "require-trusted-types-for")} == {
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
    }
