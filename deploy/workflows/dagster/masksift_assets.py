"""Dagster asset of a data lake's label quality with one partition per day: plan, run, check.

A file for a code location of Dagster 1.13 or newer. It does not import masksift, which is installed in a separate
environment and called by its command; exit codes are the contract. Locations come from the environment, or from
another `Masksift(...)` in `defs`. masksift finds credentials of the store where AWS's tools do.
"""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

LEFT_OUT, INTERRUPTED, BROKEN = 3, 5, 6
"""Exit codes: complete with quarantined images; interrupted and resumable; a limit is broken."""

ABSENT = 2
"""Exit code of a check without a complete run."""

LIMITS = ("max_flagged", "max_quarantined", "max_drop_in_class_quality")


class Masksift(dg.ConfigurableResource):
    """Command of masksift, locations of the data lake, and limits of its labels."""

    command: str = "masksift"
    source: str = "s3://lake/seg"
    quality: str = "s3://lake/quality"
    config: str = ""
    max_flagged: str = "5%"
    max_quarantined: str = "1%"
    max_drop_in_class_quality: str = "5%"

    def call(self, log: Any, *words: str, also: Sequence[int] = ()) -> tuple[int, str]:
        """Run one command, log its progress, and return its exit code and output.

        Raises RetryRequested if the command can resume, Failure for any other exit code that is neither 0 nor in
        ``also``.
        """
        command = [*shlex.split(self.command), *words]
        log.info(shlex.join(command))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                out, log_text = process.communicate()
            except BaseException:  # a terminated run leaves no process behind
                process.terminate()
                raise
        log.info("\n".join(filter(None, [log_text.strip(), f"exit code {process.returncode}"])))
        if (code := process.returncode) == INTERRUPTED:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=300) from RuntimeError(log_text.strip()[-2000:])
        if code != 0 and code not in also:
            lines = log_text.splitlines()
            message = next((line for line in lines if line.startswith("masksift: ")), log_text.strip()[-2000:])
            raise dg.Failure(f"`masksift {words[0]}` exited with code {code}: {message}", allow_retries=False)
        return code, out


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition(start_date="2026-01-01"),
    check_specs=[
        dg.AssetCheckSpec("every_image_is_scored", asset="label_quality", description="a warning: exit code 3"),
        *(dg.AssetCheckSpec(name, asset="label_quality", blocking=True) for name in LIMITS),
    ],
    pool="masksift",
)
def label_quality(context: dg.AssetExecutionContext, masksift: Masksift) -> dg.MaterializeResult:
    """Scores, ranking and flagged pixels of one day's labels."""
    day, log = context.partition_key, context.log
    out = f"{masksift.quality}/dt={day}"
    before = f"{masksift.quality}/dt={date.fromisoformat(day) - timedelta(days=1)}"
    code, _ = masksift.call(log, "check", before, "--max-quarantined", "100%", "--top", "0", also=[ABSENT])
    base = [] if code == ABSENT else ["--base", before]
    line = [*filter(None, [masksift.config]), "--source", f"{masksift.source}/dt={day}/site=*", "--out", out, *base]
    masksift.call(log, "plan", *line)
    code, _ = masksift.call(log, "run", *line, "--log-format", "json", also=[LEFT_OUT])
    limits = ["--max-flagged", masksift.max_flagged, "--max-quarantined", masksift.max_quarantined]
    drop = [*base, "--max-drop-in-class-quality", masksift.max_drop_in_class_quality] if base else []
    _, output = masksift.call(log, "check", out, *limits, *drop, "--json", also=[BROKEN])
    result = json.loads(output)
    return dg.MaterializeResult(
        metadata=metadata(result), check_results=[left_out(code, result), *limit_checks(result)]
    )


def metadata(result: dict[str, Any]) -> dict[str, Any]:
    """Return facts of the run from its run.json."""
    names = ("fingerprint", "started", "finished", "seconds", "images", "flagged_pixels", "bytes_read", "retries")
    return {
        **{name: result[name] for name in names},
        **{f"images_{status}": count for status, count in result["counts"].items()},
        "results": dg.MetadataValue.path(result["run"]),
        "report": dg.MetadataValue.path(f"{result['run']}/report/index.html"),
    }


def left_out(code: int, result: dict[str, Any]) -> dg.AssetCheckResult:
    """Warn if the exit code of the run reports quarantined images, and list the first ones with their reasons."""
    rows = [
        dg.TableRecord({name: str(row[name] or "") for name in ("image_id", "source", "status", "reason")})
        for row in result["quarantined"]
    ]
    return dg.AssetCheckResult(
        check_name="every_image_is_scored",
        passed=code != LEFT_OUT,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"images": dg.MetadataValue.table(rows)} if rows else {},
    )


def limit_checks(result: dict[str, Any]) -> Iterator[dg.AssetCheckResult]:
    """Yield one check result per limit."""
    limits = {one["limit"]: one for one in result["limits"]}
    for name in LIMITS:
        limit = limits.get(name, {"passed": True, "held_against": "nothing"})  # the first day has no base
        facts = {key: value for key, value in limit.items() if value is not None and key not in ("limit", "passed")}
        yield dg.AssetCheckResult(check_name=name, passed=limit["passed"], metadata=facts)


defs = dg.Definitions(
    assets=[label_quality],
    schedules=[
        dg.build_schedule_from_partitioned_job(
            dg.define_asset_job("masksift_nightly", [label_quality]), hour_of_day=2, minute_of_hour=0
        )
    ],
    resources={
        "masksift": Masksift(
            command=dg.EnvVar("MASKSIFT_COMMAND"),
            source=dg.EnvVar("MASKSIFT_SOURCE"),
            quality=dg.EnvVar("MASKSIFT_QUALITY"),
        )
    },
)
