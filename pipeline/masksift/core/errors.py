"""Exceptions of masksift and the exit codes of the command line."""

from __future__ import annotations

import re


class MasksiftError(Exception):
    """Base class of all errors that masksift raises on purpose.

    Args:
        sentences: What happened, with values and place; the effect, unless it is obvious; the remedy in the imperative.
            A period is added to every sentence without end punctuation.
    """

    exit_code = 5

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.what, self.remedy = sentences[0], sentences[-1]

    def __str__(self) -> str:
        return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in self.args)


class UsageError(MasksiftError):
    """Invalid arguments or configuration, or an output directory that cannot be used."""

    exit_code = 2


class DataError(MasksiftError):
    """Input data that do not match their description, such as a missing array or disagreeing shapes."""

    exit_code = 2


class PlanRefused(MasksiftError):
    """A plan that needs more memory than the workers have."""

    exit_code = 4


class RunFailed(MasksiftError):
    """A run that stopped early. Written results are kept, and the same command resumes."""

    exit_code = 5


class Interrupted(RunFailed):
    """A run that was stopped by Ctrl-C or SIGTERM."""


def summarize_error(error: BaseException) -> str:
    """Return type and message of an error of a store's client, cut before it quotes the request with its keys."""
    cut = r"[\n{<\\]|, source:|Debug source| \(Caused by"
    message = " ".join(re.split(cut, str(error), maxsplit=1)[0].split()).strip(" .:;,")[:160]
    return f"{type(error).__name__}: {message}".rstrip(": ")
