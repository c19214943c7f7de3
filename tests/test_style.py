"""Prose of the package: docstrings and messages use plain modern American English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pipeline" / "masksift"
FILES = sorted(PACKAGE.rglob("*.py"))

ARCHAIC = (
    r"said|told|mend(?:s|ed|ing)?|strangers?|by lot|at home|goes with|befall\w*|befell|whoever|whosoever|thereof|"
    r"of (?:its|their) own|beside|lies|lay in|there is none|is none|are none|is not known|how ?manieth|none the worse|"
    r"made anew|anew|hitherto|wherever it lies|that which|in silence|it is asked|is asked for|are asked for"
)
BRITISH = (
    r"colour\w*|labell\w*|unlabell\w*|recognis\w*|initialis\w*|normalis\w*|"
    r"serialis\w*|finalis\w*|materialis\w*|optimis\w*|neighbour\w*|behaviour\w*|favour\w*|honour\w*|grey\w*|analys(?:e|ed|es)|"
    r"centre\w*|artefact\w*|catalogue\w*|cancell(?:ed|ing)|learnt|spelt|misspelt|metres?|licence"
)
WORDS = re.compile(rf"\b(?:{ARCHAIC}|{BRITISH})\b", re.IGNORECASE)
OPENINGS = re.compile(r"(?:What|How|Whether|Those|Of|Where|Who|Whose|Which)\b")


def texts(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of every string that people may read: docstrings, messages, help."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


def docstrings(tree: ast.AST) -> list[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [(node, ast.get_docstring(node)) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "lineno", 1), text) for node, text in found if text]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_prose_of_a_module_has_no_archaic_or_british_words(file: Path) -> None:
    tree = ast.parse(file.read_text())
    comments = [
        (number, line.split("#", 1)[1])
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if line.lstrip().startswith("#")
    ]
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {match[0]!r}"
        for line, text in [*texts(tree), *comments]
        for match in WORDS.finditer(text)
    ]
    found += [
        f"{file.relative_to(PACKAGE)}:{line}: docstring begins with {match[0]!r}"
        for line, text in docstrings(tree)
        if (match := OPENINGS.match(text))
    ]
    assert not found, "\n".join(found)
