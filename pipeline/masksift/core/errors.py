"""Exceptions of masksift and the exit codes of the command line."""

from __future__ import annotations

import re


class MasksiftError(Exception):
    """Base class: two or three sentences that say what happened, its effect, and what to do.

    Args:
        sentences: What happened with values and place; its effect, unless that is obvious; the remedy, imperative.
            A final period is added where punctuation is missing.
    """

    exit_code = 5

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.what, self.remedy = sentences[0], sentences[-1]

    def __str__(self) -> str:
        if len(self.args) == 3 and self.args[1][:1].islower():  # TRANSITION: messages in the old form
            end = "" if self.remedy.endswith((".", "?", "!")) else "."
            return f"{self.args[0]}; {self.args[1]}. {self.remedy}{end}"
        return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in self.args)


class UsageError(MasksiftError):
    """Words, keys or an output folder that make no run."""

    exit_code = 2


class DataError(MasksiftError):
    """A source that cannot be what it is said to be: an array is missing, shapes or classes disagree."""

    exit_code = 2


class PlanRefused(MasksiftError):
    """The plan does not fit the workers."""

    exit_code = 4


class RunFailed(MasksiftError):
    """The run ended before its end. What is written stays; the same command goes on from there."""

    exit_code = 5


class Interrupted(RunFailed):
    """The run was asked to stop."""


def summarize_error(failure: BaseException) -> str:
    """What a store's client calls its failure and says of it, cut before it quotes the request, keys and all."""
    words = re.split(r"[\n{<\\]|, source:|Debug source| \(Caused by", str(failure), maxsplit=1)[0].strip(" .:;,")[:160]
    return f"{type(failure).__name__}: {words}".rstrip(": ")
