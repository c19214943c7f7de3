"""Prose and names of the package and its tests use plain modern American English."""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file for name in ("pipeline", "tests") for file in (ROOT / name).rglob("*.py") if file.name != "test_style.py"
)

ARCHAIC = (
    r"said|told|mend(?:s|ed|ing)?|strangers?|by lot|at home|goes with|befall\w*|befell|whoever|whosoever|thereof|"
    r"of (?:its|their) own|beside|lies|lay in|there is none|(?-i:is none|are none)|is not known|how ?manieth|"
    r"none the worse|made anew|anew|hitherto|wherever it lies|that which|in silence|it is asked|is asked for|"
    r"are asked for"
)
BRITISH = (
    r"colour\w*|labell\w*|unlabell\w*|recognis\w*|initialis\w*|normalis\w*|"
    r"serialis\w*|finalis\w*|materialis\w*|optimis\w*|neighbour\w*|behaviour\w*|favour\w*|honour\w*|grey\w*|analys(?:e|ed|es)|"
    r"centre\w*|artefact\w*|catalogue\w*|cancell(?:ed|ing)|learnt|spelt|misspelt|metres?|licence"
)
WORDS = re.compile(rf"\b(?:{ARCHAIC}|{BRITISH})\b", re.IGNORECASE)
NAMES = re.compile(
    r"(?:.*_)?(?:said|told|heard|ours|theirs|begun|spoilt|fallen|whoever|manieth)(?:_.*)?", re.IGNORECASE
)
OPENINGS = re.compile(r"(?:What|How|Whether|Those|Of|Where|Who|Whose|Which)\b")


def texts(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of every string that people may read: docstrings, messages, help."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


def comments(file: Path) -> list[tuple[int, str]]:
    """Line and text of every comment, also at the end of a line of code."""
    with file.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def docstrings(tree: ast.AST) -> list[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [(node, ast.get_docstring(node)) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "lineno", 1), text) for node, text in found if text]


def names(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of every function, class, parameter and assigned variable."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.arg):
            found.append((node.lineno, node.arg))
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append((node.lineno, node.name))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_prose_and_names_of_a_module_have_no_archaic_or_british_words(file: Path) -> None:
    tree = ast.parse(file.read_text())
    found = [
        f"{file.relative_to(ROOT)}:{line}: {match[0]!r}"
        for line, text in [*texts(tree), *comments(file)]
        for match in WORDS.finditer(text)
    ]
    found += [
        f"{file.relative_to(ROOT)}:{line}: docstring begins with {match[0]!r}"
        for line, text in docstrings(tree)
        if (match := OPENINGS.match(text))
    ]
    found += [f"{file.relative_to(ROOT)}:{line}: name {name!r}" for line, name in names(tree) if NAMES.fullmatch(name)]
    assert not found, "\n".join(found)
