"""Four exceptions, each with its sentence: the fact with its values, the consequence, the remedy."""

from __future__ import annotations

__all__ = ["DataError", "Interrupted", "MasksiftError", "PlanRefused", "RunFailed", "UsageError"]


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
