"""Results of checks, and their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from masksift.core.errors import MasksiftError

Status = Literal["ok", "warning", "failed"]
OK: Status = "ok"
WARNING: Status = "warning"
FAILED: Status = "failed"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        status: "ok", "warning" (slow, or unusual) or "failed" (a run would stop).
        text: What was found, with values.
        advice: What to do, in the imperative; "" if there is nothing to do.
    """

    status: Status
    text: str
    advice: str = ""

    @classmethod
    def from_error(cls, error: MasksiftError) -> Finding:
        """Make the finding of a check that failed with an error."""
        *what, remedy = (text if text.endswith((".", "?", "!")) else f"{text}." for text in map(str, error.args))
        return cls(FAILED, " ".join(what), remedy)


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and the command to go on with."""

    findings: Sequence[Finding] = ()
    next_command: str = ""

    @property
    def passed(self) -> bool:
        """True if nothing failed."""
        return all(finding.status != FAILED for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        findings = [asdict(finding) for finding in self.findings]
        return {"passed": self.passed, "findings": findings, "next": self.next_command or None}

    def text(self) -> str:
        """Format the findings for a terminal, one line each, the advice below."""
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.status:<8} {finding.text}")
            lines += [f"{'':<8} {finding.advice}"] if finding.advice else []
        return "\n".join([*lines, *([f"next: {self.next_command}"] if self.next_command else [])])
