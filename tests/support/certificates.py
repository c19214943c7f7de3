"""The certificates of a cluster, by the documentation's own script."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from system.deploy.helpers.kustomize import FOLDER

__all__ = ["certificates", "environment", "run_script", "secret"]


def run_script(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What the script does, and says, when it is given these words."""
    return subprocess.run([str(FOLDER / "certificates.sh"), *map(str, words)], capture_output=True, text=True)


def certificates(folder: Path) -> Path:
    """A new folder with ca.crt, tls.crt and tls.key, of a CA of their own."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here, which makes the keys")
    done = run_script(folder, 2)
    assert done.returncode == 0, done.stderr
    return folder


def secret(folder: Path) -> dict[str, str]:
    """Their Secret, as pods mount it."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def environment(folder: Path) -> dict[str, str]:
    """The environment that tells Dask of them."""
    files = {"CA_FILE": "ca.crt"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        files |= {f"{role}__CERT": "tls.crt", f"{role}__KEY": "tls.key"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(folder / file) for name, file in files.items()}
