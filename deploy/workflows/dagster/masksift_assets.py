"""The quality of a data lake's labels as a Dagster asset with a partition a day: plan, run, check.

A file for a code location of Dagster 1.13 or newer. It imports nothing of masksift, which stands in an environment of
its own and is called by its command; exit codes are the contract. Where things lie is said by the environment, or by
another `Masksift(...)` in `defs`; keys of the store are found by masksift, where AWS's tools look for them.
"""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

LEFT_OUT, INTERRUPTED, BROKEN = 3, 5, 6
"""Exit codes: complete, with images that are not scored; the same command goes on from there; a limit is broken."""

ABSENT = 2
"""The exit code of a check where there is no complete run."""

LIMITS = ("max_flagged", "max_quarantined", "max_drop_in_class_quality")


class Masksift(dg.ConfigurableResource):
    """How masksift is called, where the lake lies, and what its labels have to keep."""

    command: str = "masksift"
    source: str = "s3://lake/seg"
    quality: str = "s3://lake/quality"
    config: str = ""
    max_flagged: str = "5%"
    max_quarantined: str = "1%"
    max_drop_in_class_quality: str = "5%"

    def call(self, log: Any, *words: str, also: Sequence[int] = ()) -> tuple[int, str]:
        """The exit code and the output of one command; what it tells while it works goes to the log.

        Raises RetryRequested where the same command goes on from there, Failure where any other exit code is neither 0
        nor in ``also``."""
        command = [*shlex.split(self.command), *words]
        log.info(shlex.join(command))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                out, told = process.communicate()
            except BaseException:  # a run that is terminated leaves nobody at work
                process.terminate()
                raise
        log.info("\n".join(filter(None, [told.strip(), f"exit code {process.returncode}"])))
        if (code := process.returncode) == INTERRUPTED:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=300) from RuntimeError(told.strip()[-2000:])
        if code != 0 and code not in also:
            said = next((line for line in told.splitlines() if line.startswith("masksift: ")), told.strip()[-2000:])
            raise dg.Failure(f"`masksift {words[0]}` ended with exit code {code}: {said}", allow_retries=False)
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
    _, told = masksift.call(log, "check", out, *limits, *drop, "--json", also=[BROKEN])
    found = json.loads(told)
    return dg.MaterializeResult(metadata=metadata(found), check_results=[left_out(code, found), *limits_of(found)])


def metadata(found: dict[str, Any]) -> dict[str, Any]:
    """What the run's own record, run.json, says of it."""
    names = ("fingerprint", "started", "finished", "seconds", "images", "flagged_pixels", "bytes_read", "retries")
    return {
        **{name: found[name] for name in names},
        **{f"images_{status}": count for status, count in found["counts"].items()},
        "results": dg.MetadataValue.path(found["run"]),
        "report": dg.MetadataValue.path(f"{found['run']}/report/index.html"),
    }


def left_out(code: int, found: dict[str, Any]) -> dg.AssetCheckResult:
    """A warning where a run says so by its exit code, with the first images that are not scored, and why."""
    rows = [
        dg.TableRecord({name: str(row[name] or "") for name in ("image_id", "source", "status", "reason")})
        for row in found["quarantined"]
    ]
    return dg.AssetCheckResult(
        check_name="every_image_is_scored",
        passed=code != LEFT_OUT,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"images": dg.MetadataValue.table(rows)} if rows else {},
    )


def limits_of(found: dict[str, Any]) -> Iterator[dg.AssetCheckResult]:
    """Whether each limit is kept."""
    asked = {limit["limit"]: limit for limit in found["limits"]}
    for name in LIMITS:
        told = asked.get(name, {"passed": True, "held_against": "nothing"})  # a first day has no day before
        facts = {key: value for key, value in told.items() if value is not None and key not in ("limit", "passed")}
        yield dg.AssetCheckResult(check_name=name, passed=told["passed"], metadata=facts)


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
