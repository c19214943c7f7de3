"""Options derived from the configuration models, as `--help` shows them."""

from __future__ import annotations

import argparse
import re

import pytest

from masksift.cli.parser import CommandParser, make_parser
from support.cli import exit_code


def subparsers(parser: CommandParser) -> dict[str, CommandParser]:
    """Return all commands by their full name."""
    commands = {}
    for action in parser.complete()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                commands |= {child.prog: child, **subparsers(child)}
    return commands


COMMANDS = subparsers(make_parser())


def help_of(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    assert exit_code(*command.split()[1:], "--help") == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_one_spelling_and_a_specific_metavar_of_each_flag(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(command, monkeypatch, capsys)
    flags = re.findall(r"^  (?:-\w, )?(--[\w.-]+)", text, re.MULTILINE)
    assert len(flags) == len(set(flags))
    assert not [flag for flag in flags if "_" in flag]
    assert not re.search(r"\bVALUE\b(?!:)|default: (None|False)\b|%%", text)


def test_help_of_run_lists_common_options_first_and_sections_in_groups(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of("masksift run", monkeypatch, capsys)
    groups = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert groups[:4] == ["positional arguments", "options", "scoring method options", "result options"]
    assert {"array options", "executor options"} < set(groups)
    order = [
        text.index(flag) for flag in ("--source", "--out", "--methods", "--rank-by", "--ignore", "--arrays.labels")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize(
    "line",
    [
        r"--out URL +URL of the results \(required\)",
        r"--softmin\.temperature NUMBER .*\(default: 0\.1\)",
        r"--max-quarantined N\|PERCENT .*\(default: 0\)",
        r"--clc\.rule \{rank,confident\} .*\(default: rank\)",
        r"--coco\.min-area FRACTION .*\(default: 0\.0001\)",
        r"--executor\.memory BYTES ",
        r"--executor\.timeout SECONDS ",
        r"--evidence\.keep \{true,false\} .*\(default: true\)",
        r"--storage\.anonymous \[\{true,false\}\]",
        r"--classes CLASS,\.\.\.\|FILE ",
        r"--tccp\.tau \{balanced,confident\}\|FRACTION",
    ],
)
def test_help_of_run_shows_type_default_and_unit(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(line, help_of("masksift run", monkeypatch, capsys))
