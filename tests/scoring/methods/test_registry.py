"""Every score is listed, named like its file, tested, and stands alone."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from masksift.scoring import methods
from masksift.scoring.methods import METHODS, make_methods, method_class

FOLDER = Path(methods.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def test_methods_and_modules_correspond() -> None:
    assert sorted(METHODS) == FILES


@pytest.mark.parametrize("name", METHODS)
def test_method_name_module_and_key_are_equal(name: str) -> None:
    method = method_class(name)()
    assert method.name == name
    assert type(method).__module__ == f"masksift.scoring.methods.{name}"
    assert eval(repr(method), {type(method).__name__: type(method)}) == method, "it is its configuration"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_test(name: str) -> None:
    assert (Path(__file__).parent / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", METHODS)
def test_docstring_gives_direction_and_source(name: str) -> None:
    docstring = inspect.getdoc(method_class(name)) or ""
    assert "lower = worse" in docstring
    assert "arXiv 2307.05080" in docstring
    assert ("Our reading" in docstring) == (name in ("tccp", "iou", "coco")), "methods.md: [paper] or [reading]"


def imports_of(name: str) -> set[str]:
    """The modules that a method imports, and from which it imports."""
    nodes = list(ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", FILES)
def test_methods_never_import_each_other(name: str) -> None:
    assert {module for module in imports_of(name) if "methods" in module} == {"masksift.scoring.methods.base"}


def test_methods_are_made_in_the_order_of_the_registry() -> None:
    made = make_methods(["coco", "ccp", "softmin"], {"softmin": {"temperature": 0.5}, "iou": {}})
    assert [method.name for method in made] == ["ccp", "softmin", "coco"]
    assert repr(made[1]) == "Softmin(temperature=0.5)"
    assert make_methods([], {}) == ()


def test_unknown_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        make_methods(["softmin"], {"softmin": {"temprature": 0.5}})
