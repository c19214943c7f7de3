"""Four exceptions, each with its sentence: the fact with its values, the consequence, the remedy; and what may be shown
of those of others."""

from __future__ import annotations

import re


class MasksiftError(Exception):
    """A sentence of three parts. ``exit_code`` is what the command line ends with."""

    exit_code = 5

    def __init__(self, fact: str, consequence: str, remedy: str) -> None:
        super().__init__(fact, consequence, remedy)
        self.fact, self.consequence, self.remedy = fact, consequence, remedy

    def __str__(self) -> str:
        end = "" if self.remedy.endswith((".", "?", "!")) else "."
        return f"{self.fact}; {self.consequence}. {self.remedy}{end}"


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


def cause_of(failure: BaseException) -> str:
    """What a store's client calls its failure and says of it, cut before it quotes the request, keys and all."""
    words = re.split(r"[\n{<\\]|, source:|Debug source| \(Caused by", str(failure), maxsplit=1)[0].strip(" .:;,")[:160]
    return f"{type(failure).__name__}: {words}".rstrip(": ")
