"""The base install, without extras and development packages, runs the demo and the commands that follow it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from masksift.cli.main import main
from masksift.demo import make_demo

demo = make_demo("demo-run", images=8, height=64, width=128, workers=1)
serial = ("--executor", "serial", "--log-format", "quiet")
source = ("--source", str(demo.source))
runs = [
    ["plan", *source, "--out", "quality"],
    ["run", *source, "--out", "quality", *serial],
    ["score", "quality", "--out", "sharper", "--softmin.temperature", "0.05", *serial],
    ["top", "quality"],
    ["export", "cvat", "quality", "--out", "cvat"],
    ["simulate", "drop", *source, "--out", "known", *serial],
]
if __name__ == "__main__":
    for arguments in runs:
        assert main(arguments) == 0, arguments
    assert main(["show", "quality", "scene_0000"]) == 2
"""


def base_distributions() -> set[str]:
    """Names of the distributions that the base install brings, directly or indirectly."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    names, following = {"masksift"}, [Requirement(text) for text in project["dependencies"]]
    while following:
        requirement = following.pop()
        names.add(name := str(canonicalize_name(requirement.name)))
        for one in map(Requirement, requires(name) or ()):
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            needed = one.marker is None or any(map(one.marker.evaluate, environments))
            if needed and (one.extras or canonicalize_name(one.name) not in names):
                following.append(one)
    return names


def test_base_install_runs_the_demo_and_all_commands_without_extras(tmp_path: Path) -> None:
    base = base_distributions()
    blocked = {
        module
        for module, owners in packages_distributions().items()
        if not base & {str(canonicalize_name(owner)) for owner in owners}
    }
    assert {"matplotlib", "pandas"} <= blocked
    blocked -= {"zarrs"}  # zarr imports every codec pipeline that is registered in the environment
    program = tmp_path / "program.py"
    program.write_text(f"BLOCKED = {sorted(blocked)!r}\n{PROGRAM}")
    done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'masksift[show]'") == 1, "one message for the missing extra"
    assert "Traceback" not in done.stderr
