"""`masksift demo`: create the data set, run masksift on it and compare the ranking with the known errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from masksift.config.load import build_run_config
from masksift.demo import found_at_top, make_demo
from masksift.engine.summary import format_run_summary
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import read_table


def show(folder: str, *, workers: int = 2, log_format: Literal["auto", "json", "quiet"] = "auto") -> str:
    """Run the demo on an embedded cluster.

    Args:
        folder: Local output directory.
        workers: Threads that make the images, and worker processes of the run.
        log_format: Format of the progress output.

    Returns:
        The text to print at the end.
    """
    check_output(folder, ())
    report = ProgressReporter(log_format)
    source, out = Path(folder) / "source.zarr", Path(folder) / "results"
    tree = {"sources": [str(source)], "out": str(out), "executor": {"kind": "local", "workers": workers}}
    config = build_run_config(tree, {})  # refuses invalid workers before anything is made
    truth = make_demo(folder, workers=workers, report=report.message)
    outcome = run(config, report)
    ranked = read_table(ObjectDirectory(str(out)), "ranking/part-000000.parquet", ["image_id"])["image_id"].to_pylist()
    found = found_at_top(ranked, truth)
    kinds = ", ".join(f"{kind} {hits} of {known}" for kind, (hits, known) in sorted(found.by_kind.items()))
    marks = {
        name: f"{error.kind} {', '.join(truth.class_names[k] for k in error.classes)}"
        for name, error in truth.errors.items()
    }
    return "\n".join(
        [
            format_run_summary(outcome.record, str(out), notes=marks),
            f"known errors: {truth.truth}",
            f"{found.known} of {len(truth.image_ids)} images hold a known error; the first {found.known} of the "
            f"ranking hold {found.found} of them ({kinds})",
        ]
    )
