"""Configurations as command lines, which the parser reads back."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.cli.commands import _parse_brackets
from masksift.config.command_line import command_line
from masksift.config.load import build_run_config


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "--key 'a b'"),
        ((1, 255), "--key 1,255"),
        (("a", "b, c"), '--key \'["a", "b, c"]\''),
        ({7: 0, 8: 1}, "--key 7:0,8:1"),
        ({"queue": "gpu"}, '--key \'{"queue" = "gpu"}\''),
        (True, "--key true"),
        (0.5, "--key 0.5"),
    ],
)
def test_command_line_writes_values_as_flags_take_them(value: Any, text: str) -> None:
    assert command_line("run", {"key": value}) == f"masksift run {text}"


def test_command_line_repeats_the_flag_of_sources() -> None:
    assert command_line("run", {"out": "q"}, ["a", "b*"]) == "masksift run --source a --source 'b*' --out q"


@given(
    st.lists(st.text(st.characters(exclude_categories=["C"], exclude_characters='"\\'), min_size=1), min_size=2),
    st.dictionaries(st.integers(0, 300), st.integers(0, 1), min_size=1),
)
def test_configuration_from_a_command_line_is_the_same(names: list[str], remap: dict[int, int]) -> None:
    names = list(dict.fromkeys(name.strip() or "x" for name in names))
    if any("," in name or name.startswith(("[", "{", "@")) for name in names) or len(names) < 2:
        names = ["a, b", *map(str, range(len(names)))]
    words = shlex.split(command_line("run", {"classes": tuple(names), "remap": remap}))
    flags = {words[i].removeprefix("--"): _parse_brackets(words[i + 1]) for i in range(2, len(words), 2)}
    config = build_run_config({"sources": ["a"], "out": "b"}, flags)
    assert config.classes == tuple(names)
    assert config.remap == remap
