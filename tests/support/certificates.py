"""TLS certificates of a cluster, created by deploy/kubernetes/certificates.sh."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from system.deploy.helpers.kustomize import FOLDER

__all__ = ["certificates", "environment", "run_script", "secret"]


def run_script(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script with these arguments."""
    return subprocess.run([str(FOLDER / "certificates.sh"), *map(str, args)], capture_output=True, text=True)


def certificates(folder: Path) -> Path:
    """Create a folder with ca.crt, tls.crt and tls.key of a new CA."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here, which makes the keys")
    done = run_script(folder, 2)
    assert done.returncode == 0, done.stderr
    return folder


def secret(folder: Path) -> dict[str, str]:
    """Data of the Secret that pods mount."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def environment(folder: Path) -> dict[str, str]:
    """Environment variables that configure Dask with the certificates."""
    files = {"CA_FILE": "ca.crt"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        files |= {f"{role}__CERT": "tls.crt", f"{role}__KEY": "tls.key"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(folder / file) for name, file in files.items()}
