"""Materialize the asset in Dagster's environment: requests as JSON on stdin, results as the last line of stdout."""

from __future__ import annotations

import json
import logging
import runpy
import sys
from typing import Any

import dagster as dg

request = json.load(sys.stdin)
module = runpy.run_path(request["file"])
Masksift, asset = module["Masksift"], module["label_quality"]


def night(day: str, **settings: Any) -> dict[str, Any]:
    result = dg.materialize(
        [asset], partition_key=day, resources={"masksift": Masksift(**settings)}, raise_on_error=False
    )
    checks = {
        one.check_name: {
            "passed": one.passed,
            "severity": one.severity.value,
            "metadata": {name: plain(value) for name, value in one.metadata.items()},
        }
        for one in result.get_asset_check_evaluations()
    }
    events = result.get_asset_materialization_events()
    metadata = [event.step_materialization_data.materialization.metadata for event in events]
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return {
        "success": result.success,
        "checks": checks,
        "metadata": {name: plain(value) for one in metadata for name, value in one.items()},
        "failures": [failure_message(one) for one in failed],
    }


def failure_message(failure: Any) -> str:
    output = failure.user_failure_data
    return f"{output.description if output else ''} {failure.error}"


def plain(value: Any) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        return [record.data for record in value.records]
    return value.value


def called(command: str) -> str:
    try:
        Masksift(command=command).call(logging.getLogger("nights"), "run")
    except Exception as e:
        return type(e).__name__ + (f" {e.max_retries} {e.seconds_to_wait}" if isinstance(e, dg.RetryRequested) else "")
    return "done"


found = {
    "nights": [night(**one) for one in request["nights"]],
    "called": [called(command) for command in request["called"]],
    "schedules": [one.name for one in module["defs"].schedules],
}
sys.stdout.write("\n" + json.dumps(found) + "\n")
