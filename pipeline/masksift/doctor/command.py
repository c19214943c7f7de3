"""`masksift doctor`: check the installation and, if given, sources, and propose the next command."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from masksift.config.command_line import command_line
from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import DataError, MasksiftError
from masksift.doctor.environment import check_credentials, check_environment
from masksift.doctor.findings import FAILED, OK, Diagnosis, Finding
from masksift.doctor.sources import check_sources
from masksift.prepare.ingest.array_formats import EXTENSIONS
from masksift.prepare.ingest.raster import RGB_EXTENSIONS
from masksift.prepare.predict.config import PredictConfig
from masksift.runner import make_block_tasks
from masksift.storage.files import find_files
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.labeled_source import open_labeled_source
from masksift.storage.sources.open import find_array
from masksift.storage.urls import local_path
from masksift.storage.zarr.metadata import open_group

OUT = "quality"
"""Results of the proposed command."""


def diagnose(sources: tuple[str, ...], flags: Mapping[str, Any]) -> Diagnosis:
    """Check the installation and, if given, the sources of a run.

    Args:
        sources: URLs or globs of sources; empty to check the installation only.
        flags: Other keys of a run that are set, by dotted name.

    Returns:
        The findings, and the command that follows.

    Raises:
        UsageError: The keys are invalid.
    """
    findings = list(check_environment())
    if not sources:
        return Diagnosis(findings, "masksift doctor SOURCE")
    config = build_run_config({"sources": list(sources), "out": OUT}, flags)
    findings += check_credentials(config.sources, config.storage.store)
    try:
        tasks = make_block_tasks(config)
    except MasksiftError as e:
        return _explain(findings, config, e, flags)
    findings += check_sources(config, tasks)
    diagnosis = Diagnosis(findings)
    return Diagnosis(findings, command_line("run", {**flags, "out": OUT}, sources)) if diagnosis.passed else diagnosis


def _explain(findings: list[Finding], config: RunConfig, error: MasksiftError, flags: Mapping[str, Any]) -> Diagnosis:
    """Tell a source that needs another command first from a broken one."""
    source = config.sources[0]
    if len(config.sources) == 1 and (found := _describe_labeled(config, source)):
        known = dotted_keys(PredictConfig)
        flags = {key: value for key, value in flags.items() if key in known or key == "executor"}
        command = command_line("predict", {**flags, "out": "predictions.zarr"}, [source])
        return Diagnosis([*findings, Finding(OK, found)], command)
    if files := _file_types(source):
        text = f"{source} is a directory of files ({files}), no Zarr group"
        command = f"masksift quickstart --images IMAGES --labels LABELS  # such as directories in {shlex.quote(source)}"
        return Diagnosis([*findings, Finding(FAILED, text, "Make a source of them")], command)
    return Diagnosis([*findings, Finding.from_error(error)])


def _describe_labeled(config: RunConfig, source: str) -> str | None:
    """Describe a source that holds images and labels, but no predictions; None for any other."""
    try:
        overrides, options = config.overrides(), config.options()
        group = open_group(source, options, MAX_ATTEMPTS_ON_OPEN)
        if any(find_array(group, source, name) is not None for name in overrides.prediction_names):
            return None
        found = open_labeled_source(source, overrides, options, pictures="images", groups=None)
    except (MasksiftError, OSError):
        return None
    spec = found.spec
    size = f"{spec.images:,} images of {spec.height} x {spec.width}"
    return f"{spec.name}: {size} with labels of {spec.classes} classes, no predictions"


def _file_types(source: str) -> str:
    """Count images and arrays below a local directory by their endings; "" for a Zarr group and without any."""
    path = local_path(source)
    if path is None or not os.path.isdir(path) or any(name in os.listdir(path) for name in ("zarr.json", ".zgroup")):
        return ""
    try:
        names = find_files(source, {}, (*RGB_EXTENSIONS, *EXTENSIONS)).names
    except DataError:
        return ""
    counts = Counter(os.path.splitext(name.lower())[1] for name in names)
    return ", ".join(f"{count:,} {ending}" for ending, count in sorted(counts.items()))
