"""Run the command line in this process and check what it prints."""

from __future__ import annotations

import pytest

from support.errors import assert_sentences

__all__ = ["error_message", "exit_code", "run_cli"]


def run_cli(verb: str, *args: object) -> int:
    """Return the exit code of a subcommand with the serial executor and without progress output."""
    from masksift.cli.main import main

    return main([verb, *map(str, args), "--executor.kind", "serial", "--log-format", "quiet"])


def exit_code(*args: object) -> int:
    """Return the exit code of a command line, also if the parser exits."""
    from masksift.cli.main import main

    try:
        return main([*map(str, args)])
    except SystemExit as e:
        return int(e.code or 0)


def error_message(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one-line message on standard error; standard output must be empty."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("masksift: ")
    message = printed.err.removeprefix("masksift: ").removesuffix("\n")
    assert "\n" not in message, "a traceback or a second message"
    assert_sentences(message)
    return message
