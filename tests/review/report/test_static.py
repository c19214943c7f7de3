"""Static files of the report page: complete, self-contained, and free of unsafe DOM calls."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from system.report_page.fake_reports import STATIC

FILES = sorted(STATIC.iterdir())
CODE = [file for file in FILES if file.suffix == ".js"]
REPOSITORY = Path(__file__).parents[3]


def test_page_references_exactly_the_static_files() -> None:
    page = (STATIC / "index.html").read_text()
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert named | {"index.html"} == {file.name for file in FILES}


def test_static_files_are_package_data() -> None:
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "masksift"
    ]
    package = STATIC.parents[2]
    assert {file for pattern in patterns for file in package.glob(pattern)} >= set(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_static_file_contains_no_foreign_address(file: Path) -> None:
    text = file.read_text(encoding="ascii" if file.suffix in {".html", ".svg"} else "utf-8")
    addresses = re.findall(r"""(?:[a-z]+:)?//[\w.-]+\.\w+[^\s"')]*|@import|\burl\(""", text)
    assert [address for address in addresses if address != "http://www.w3.org/2000/svg"] == []


@pytest.mark.parametrize("file", CODE, ids=lambda file: file.name)
def test_script_builds_no_markup_or_code_from_text_and_fetches_nothing(file: Path) -> None:
    spec = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*[\"'`]|srcdoc"
    assert re.findall(spec, file.read_text()) == []
    assert re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", file.read_text()) == []


@pytest.mark.parametrize("file", CODE, ids=lambda file: file.name)
def test_script_uses_strict_mode(file: Path) -> None:
    assert '"use strict";' in file.read_text().splitlines()[:6]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_static_file_has_few_and_short_lines(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) < 400
    assert all(len(line) <= 120 for line in lines if "Content-Security-Policy" not in line and "<path" not in line)


def test_content_security_policy_allows_only_the_report() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', (STATIC / "index.html").read_text())
    rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}
    assert rules["default-src"] == ["'none'"]
    assert {value for name in ("script-src", "style-src", "img-src") for value in rules[name]} == {"'self'"}
    assert {name: rules[name] for name in ("base-uri", "form-action", "require-trusted-types-for")} == {
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
    }
