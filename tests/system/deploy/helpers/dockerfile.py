"""A Dockerfile read, and done without a container engine: its own steps, in order, below a folder that is the root.

Every absolute path of a step is put below that folder before the step is run, so that nothing else is touched. What
the base image brings is played by a virtual environment at `/usr/local`, of the Python that the tests run on.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

__all__ = [
    "NETWORK_VARIABLES",
    "NO_NETWORK",
    "Build",
    "Instruction",
    "StepFailed",
    "instructions",
    "is_in_context",
    "package_cache",
]

_PATH = re.compile(r"(?<![\w.}*$/-])/(?=\w)")
"""Start of an absolute path that is not within a relative one."""
NETWORK_VARIABLES = re.compile(r"(?i)(UV_|PIP_|SSL_|REQUESTS_CA_BUNDLE$|(https?|no|all)_proxy$)")
"""Variables of package indexes, certificates and proxies, which a container engine would pass to the build."""
NO_NETWORK = re.compile(
    r"(?i)failed to (fetch|connect)|dns error|name resolution|NewConnectionError|timed out|Max retries"
)
"""Message of an installer that cannot reach the package index."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``flags`` are `--name=value` before its arguments, ``rest`` is the raw remainder."""

    keyword: str
    rest: str
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def args(self) -> list[str]:
        return shlex.split(self.rest)


def instructions(text: str) -> list[Instruction]:
    """Parse the instructions of a Dockerfile: continued lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        keyword, _, rest = line.strip().partition(" ")
        flags = {}
        while keyword.upper() != "RUN" and (flag := re.match(r"--([a-z-]+)=(\S+)\s+", rest)):
            flags[flag[1]], rest = flag[2], rest[flag.end() :]
        found.append(Instruction(keyword.upper(), rest, flags))
    return found


def is_in_context(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a .dockerignore keeps a file: the last pattern that matches it or a parent folder decides."""
    parts = path.split("/")
    places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    through = True
    for pattern in patterns:
        plain = pattern.removeprefix("!").removeprefix("**/")
        anywhere = pattern.startswith("**/")
        if any(fnmatch.fnmatchcase(part, plain) for part in (parts if anywhere else places)):
            through = pattern.startswith("!")
    return through


class StepFailed(Exception):
    """A step exited with a nonzero code: its command and output."""


class Build:
    """Run the instructions of a Dockerfile below ``root``, which then holds the last stage.

    ``environment`` is that of its processes; ``last`` maps each instruction name to its last occurrence.
    """

    def __init__(self, root: Path, context: Path, patterns: Sequence[str]) -> None:
        self.root, self._context, self._patterns = root, context, patterns
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, dict[str, str]] = {}
        self._name = ""
        self.environment: dict[str, str] = {}
        self.last: dict[str, Instruction] = {}

    def do(self, steps: Sequence[Instruction]) -> None:
        """Run all instructions. Raise StepFailed if one fails."""
        for step in steps:
            act = getattr(self, f"_{step.keyword.lower()}", None)
            if act is not None:
                act(step)
            self.last[step.keyword] = step
        self._end_stage(keep=False)

    def below(self, text: str) -> str:
        """Replace every absolute path in a text by one below the root."""
        return _PATH.sub(f"{self.root}/", text)

    def _expanded(self, text: str) -> str:
        return Template(text).safe_substitute({**self._arguments, **self.environment})

    def _end_stage(self, *, keep: bool) -> None:
        """Move a finished stage away for `COPY --from`, and remove stages that are no longer needed."""
        if keep and self.root.exists():
            self.root.rename(self._stage_folder(self._name))
            self._stages[self._name] = dict(self.environment)
        elif not keep:
            for name in self._stages:
                shutil.rmtree(self._stage_folder(name))

    def _stage_folder(self, name: str) -> Path:
        return self.root.with_name(f"{self.root.name}.{name}")

    def _from(self, step: Instruction) -> None:
        self._end_stage(keep=True)
        source, *name = re.split(r"\s+AS\s+", self._expanded(step.rest), flags=re.IGNORECASE)
        if source in self._stages:
            shutil.copytree(self._stage_folder(source), self.root, symlinks=True)
            self.environment = dict(self._stages[source])
        else:
            (self.root / "etc").mkdir(parents=True)
            uv = os.path.join(os.path.dirname(sys.executable), "uv")  # an environment with pip, in no time
            command = [uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(self.root / "usr/local")]
            _done(subprocess.run(command, capture_output=True, text=True, check=False))
            self.environment = {"PATH": f"{self.root}/usr/local/bin:/usr/bin:/bin"}
        self._name = name[0] if name else "last"
        self._folder, self.last = self.root, {}

    def _arg(self, step: Instruction) -> None:
        name, _, value = step.args[0].partition("=")
        self._arguments.setdefault(name, value)

    def _env(self, step: Instruction) -> None:
        variables = dict(item.split("=", 1) for item in step.args)
        self.environment |= {name: self._expanded(self.below(value)) for name, value in variables.items()}

    def _workdir(self, step: Instruction) -> None:
        self._folder = Path(self.below(step.rest))
        self._folder.mkdir(parents=True, exist_ok=True)

    def _run(self, step: Instruction) -> None:
        network = {name: value for name, value in os.environ.items() if NETWORK_VARIABLES.match(name)}
        home = {
            "HOME": str(self.root / "root"),
            "UV_CACHE_DIR": package_cache("uv"),
            "PIP_CACHE_DIR": package_cache("pip"),
        }
        command = self.below(step.rest)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            env={**home, **network, **self.environment},
        )
        _done(done)

    def _copy(self, step: Instruction) -> None:
        *sources, target = step.args
        place = Path(self.below(target)) if target.startswith("/") else self._folder / target
        if (stage := step.flags.get("from")) is not None:
            (source,) = sources
            assert source == target, "what has its path in it can only stay where it is"
            place.parent.mkdir(parents=True, exist_ok=True)
            (self._stage_folder(stage) / source.lstrip("/")).rename(place)
            return
        for source in sources:
            for path, name in self._files(source):
                if (self._context / source).is_dir():
                    to = place / name
                else:
                    to = place / path.name if target.endswith("/") else place
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)
                if to.read_bytes()[:2] == b"#!":  # it says itself where things are
                    to.write_text(to.read_text().replace("/opt/", f"{self.root}/opt/"))

    def _files(self, source: str) -> Iterator[tuple[Path, str]]:
        """Yield the copied files of the context with their relative paths."""
        found = self._context / source
        for path in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if path.is_file() and is_in_context(path.relative_to(self._context).as_posix(), self._patterns):
                yield path, path.relative_to(found).as_posix()


def _done(process: subprocess.CompletedProcess[str]) -> None:
    if process.returncode:
        raise StepFailed(f"{process.args}\n{process.stdout}{process.stderr}")


def package_cache(tool: str) -> str:
    """Return the package cache of this machine."""
    configured = os.environ.get(f"{tool.upper()}_CACHE_DIR")
    return configured or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), tool)
