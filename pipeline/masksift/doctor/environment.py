"""Checks of this machine and installation: versions, extras, memory, compiled kernels and credentials."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from masksift.core.errors import UsageError
from masksift.core.units import format_bytes
from masksift.core.versions import package_versions
from masksift.doctor.findings import OK, WARNING, Finding
from masksift.runtime.executors import memory_limit
from masksift.scoring.kernels.condense import is_compiled
from masksift.storage.credentials import StoreConfig, cloud_of, find_credentials

_EXTRAS = {
    "show": "matplotlib",
    "torch": "segmentation_models_pytorch",
    "onnx": "onnxruntime",
    "transformers": "transformers",
    "export": "pycocotools",
    "iceberg": "pyiceberg",
    "gcs": "gcsfs",
    "kubernetes": "kr8s",
    "telemetry": "prometheus_client",
}
"""Module that tells whether an extra is installed."""
_CLOUD_NAMES = {"s3": "S3", "az": "Azure", "gs": "Google Cloud Storage"}
_MIN_WORKER_BYTES = 1 << 30


def check_environment() -> Iterator[Finding]:
    """Check what every command uses."""
    yield _check_versions()
    extras = [name for name, module in _EXTRAS.items() if find_spec(module) is not None]
    missing = [name for name in _EXTRAS if name not in extras]
    advice = f"Install others when a command asks for them: pip install 'masksift[{missing[0]}]'" if missing else ""
    yield Finding(OK, f"extras: {', '.join(extras) or 'none'} (not: {', '.join(missing) or 'none'})", advice)
    yield _check_memory()
    yield _check_kernels()


def _check_versions() -> Finding:
    versions = package_versions()
    listed = ", ".join(f"{name} {number}" for name, number in versions.items() if name not in ("python", "masksift"))
    text = f"masksift {versions['masksift']}, Python {versions['python']}, {listed}"
    if unmet := list(_unmet_requirements()):
        return Finding(WARNING, f"{text}; but masksift needs {', '.join(unmet)}", "Run pip install --upgrade masksift")
    return Finding(OK, text)


def _unmet_requirements() -> Iterator[str]:
    """Yield the requirements of masksift that the installed packages do not meet."""
    from packaging.requirements import Requirement

    for text in requires("masksift") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield str(requirement)
        else:
            if not requirement.specifier.contains(installed, prereleases=True):
                yield f"{requirement} (installed: {installed})"


def _check_memory() -> Finding:
    cores, memory = os.cpu_count() or 1, memory_limit("local", workers=None, memory=None)
    text = f"{cores} cores, {format_bytes(memory or 0)} of memory for each of the local workers"
    if memory is not None and memory < _MIN_WORKER_BYTES:
        return Finding(WARNING, text, "Pass --executor serial, or fewer --executor.workers")
    return Finding(OK, text)


def _check_kernels() -> Finding:
    if is_compiled():
        return Finding(OK, "kernels are compiled")
    module = f"{os.path.basename(sys.executable)} -m masksift.scoring.kernels.warm_cache"
    return Finding(
        OK,
        "kernels are not compiled yet: the first run takes some ten seconds longer",
        f"To compile them now: {module}",
    )


def check_credentials(urls: Iterable[str], config: StoreConfig) -> Iterator[Finding]:
    """Name the credentials of the clouds of some URLs, without printing them."""
    for cloud in sorted({cloud for url in urls if (cloud := cloud_of(url))}):
        name = _CLOUD_NAMES[cloud]
        try:
            found = find_credentials(cloud, config)
        except UsageError as e:
            yield Finding.from_error(e)
            continue
        if found is None:
            yield Finding(
                WARNING,
                f"{name}: no credentials found here",
                "Set them in the environment, or pass --storage.anonymous for a public bucket",
            )
        else:
            yield Finding(OK, f"{name}: {found}")
