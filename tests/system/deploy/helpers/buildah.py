"""Build the image with buildah, on a base image made here: Debian from debootstrap, and the Python of the tests.

The usual base image is in a registry. This one has the same parts in the same places: Debian, CPython with pip below
`/usr/local`, and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from system.deploy.helpers.dockerfile import NETWORK_VARIABLES, NO_NETWORK, package_cache

BASE, IMAGE, CONTAINER = "localhost/base", "localhost/masksift", "masksift"
_TOOLS = ("buildah", "debootstrap", "ldd", "chroot")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def require_buildah() -> None:
    """Skip a test on a machine that cannot build the image."""
    missing = [name for name in _TOOLS if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: buildah, debootstrap)")
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    if not os.path.ismount("/"):
        pytest.skip("buildah's chroot isolation needs / to be a mount")
    if platform.freedesktop_os_release().get("ID") != "debian":
        pytest.skip("the Python of the tests is copied into a Debian of the same release, and this is no Debian")
    if sys.base_prefix == "/usr":
        pytest.skip("the Python of the tests is Debian's, which cannot be copied to /usr/local")


@dataclass(frozen=True)
class Buildah:
    """Images in a folder; nothing else on this machine is changed."""

    folder: Path

    def run(self, *args: str, code: int = 0) -> str:
        """Run a command of buildah; return its standard output. It must exit with ``code``."""
        storage = [
            "--root",
            str(self.folder / "store"),
            "--runroot",
            str(self.folder / "run"),
            "--storage-driver",
            "vfs",
        ]
        done = _run(["buildah", *storage, *args])
        if code == 0 and done.returncode and NO_NETWORK.search(done.stderr):
            pytest.skip(f"the package index cannot be reached: {done.stderr[-300:]}")
        assert done.returncode == code, f"{args}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        return done.stdout

    def build(self, context: Path, dockerfile: Path, tag: str, *args: str) -> None:
        """Build an image. Only the docker format has health checks."""
        isolation = ("--isolation", "chroot", "--network", "host", "--format", "docker")
        self.run("build", *isolation, *args, "--file", str(dockerfile), "--tag", tag, str(context))

    def build_base(self) -> None:
        """Build the base image."""
        root = self.folder / "root"
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        done = _run(["debootstrap", "--variant=minbase", suite, str(root)])
        if done.returncode:
            pytest.skip(f"debootstrap failed, which needs a Debian mirror: {(done.stdout + done.stderr)[-300:]}")
        _copy_python(root / "usr/local")
        for library in _libraries(root / "usr/local"):
            to = root / library.relative_to("/")
            if not to.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, to)
        variables = {}
        for name, value in os.environ.items():
            if NETWORK_VARIABLES.match(name) and not os.path.isdir(value):
                variables[name] = value
                if os.path.isfile(value):  # certificates
                    (root / value[1:]).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(value, root / value[1:])
        for command in (["ldconfig"], ["python", "-m", "ensurepip", "--default-pip"]):
            done = _run(["chroot", str(root), *command])
            assert done.returncode == 0, done.stderr
        lines = [f"ENV {name}={json.dumps(value)}" for name, value in variables.items()]
        path = "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        (self.folder / "Dockerfile").write_text("\n".join(["FROM scratch", "ADD root /", path, *lines, ""]))
        self.build(self.folder, self.folder / "Dockerfile", BASE)
        shutil.rmtree(root)

    def build_image(self, context: Path) -> None:
        """Build the image of the repository, with the package caches of this machine, and make a container of it."""
        caches = [f"{package_cache(name)}:/root/.cache/{name}" for name in ("pip", "uv")]
        for cache in caches:
            os.makedirs(cache.partition(":")[0], exist_ok=True)
        volumes = [word for cache in caches for word in ("--volume", cache)]
        self.build(context, context / "deploy/Dockerfile", IMAGE, "--build-arg", f"BASE={BASE}", *volumes)
        self.run("from", "--pull-never", "--name", CONTAINER, IMAGE)

    @property
    def config(self) -> dict[str, Any]:
        """Configuration of the image."""
        config: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        return config

    def start(self, *args: str, volume: Path | None = None, code: int = 0) -> str:
        """Run a command in the container with its entrypoint and as its user; return its standard output."""
        mount = ["--volume", f"{volume}:/data"] if volume else []
        entrypoint = self.config["Entrypoint"]
        return self.run("run", "--isolation", "chroot", *mount, CONTAINER, "--", *entrypoint, *args, code=code)


def _copy_python(prefix: Path) -> None:
    """Copy the interpreter and its standard library, without installed packages."""
    version = f"python{sysconfig.get_python_version()}"
    source = Path(sys.base_prefix)
    shutil.copy(source / "bin" / version, prefix / "bin")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(version)
    ignore = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*")
    shutil.copytree(source / "lib" / version, prefix / "lib" / version, ignore=ignore)
    (prefix / "lib" / version / "site-packages").mkdir()
    for library in (source / "lib").glob("libpython*.so*"):
        shutil.copy(library, prefix / "lib", follow_symlinks=False)


def _libraries(prefix: Path) -> set[Path]:
    """Return the libraries of this machine that a Python installation is linked with."""
    files = [*prefix.glob("bin/python3.*"), *prefix.glob("lib/python3.*/lib-dynload/*.so")]
    output = _run(["ldd", *map(str, files)]).stdout
    found = {Path(path) for path in re.findall(r"=> (/\S+)", output)}
    return {path for path in found if not path.is_relative_to(sys.base_prefix) and not path.is_relative_to(prefix)}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": _PATH}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
