"""Asset materialized by Dagster itself, in the environment of `make workflows`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from system.deploy.helpers.nightly import (
    COMMAND,
    LEFT_OUT,
    WHOLE,
    files,
    lake,
    record,
    write_config,
    write_fake_command,
)

ROOT = Path(__file__).parents[3]
FLOW = ROOT / "tests/system/deploy/flows/dagster_nights.py"
PYTHON = ROOT / ".venv-dagster" / "bin" / "python"

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="Dagster is not in .venv-dagster: `make workflows` installs it"),
]


def materialize(folder: Path, nights: list[dict[str, Any]], called: list[str]) -> dict[str, Any]:
    """Results of materializations, and of commands with other exit codes."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DAGSTER"))}
    requested = {"file": str(ROOT / "deploy/workflows/dagster/masksift_assets.py"), "nights": nights, "called": called}
    done = subprocess.run(
        [PYTHON, FLOW],
        input=json.dumps(requested),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=plain | {"DAGSTER_HOME": str(folder), "DAGSTER_DISABLE_TELEMETRY": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_partitions_materialize_with_metadata_and_checks(tmp_path: Path) -> None:
    """Two days, the second twice; one with a quarantined image; a failed check; a refused plan."""
    lake(tmp_path / "lake")
    places = {
        "command": COMMAND,
        "source": str(tmp_path / "lake"),
        "quality": str(tmp_path / "quality"),
        "config": str(write_config(tmp_path)),
        "max_flagged": "100%",
        "max_quarantined": "50%",
        "max_drop_in_class_quality": "100%",
    }
    small = tmp_path / "small.toml"
    small.write_text('[executor]\nkind = "local"\nworkers = 1\nmemory = "64 MiB"\n')
    requested: list[dict[str, Any]] = [
        {"day": WHOLE[0]},
        {"day": WHOLE[1]},
        {"day": WHOLE[1]},
        {"day": LEFT_OUT},
        {"day": WHOLE[1], "max_flagged": "0"},
        {"day": WHOLE[0], "config": str(small), "quality": str(tmp_path / "refused")},
    ]
    bins = {code: write_fake_command(tmp_path / str(code), run=str(code)) for code in (0, 5, 2)}
    found = materialize(tmp_path, [places | one for one in requested], [f"{one}/masksift" for one in bins.values()])
    first, second, again, left_out, broken, refused = found["nights"]

    for one in (first, second, again, left_out):
        assert one["success"], one["failures"]
    quality = tmp_path / "quality"
    kept = record(quality, WHOLE[1])
    assert kept["configuration"]["base"] == f"{quality}/dt={WHOLE[0]}"
    for name in ("fingerprint", "started", "finished", "images", "flagged_pixels"):
        assert second["metadata"][name] == kept[name]
        assert again["metadata"][name] == kept[name], "it is the same run"
    assert second["metadata"]["images_scored"] == 12
    assert not any(name.count("run.json") > 1 for name in files(quality))

    assert {name: one["passed"] for name, one in second["checks"].items()} == dict.fromkeys(
        ["every_image_is_scored", "max_flagged", "max_quarantined", "max_drop_in_class_quality"], True
    )
    assert first["checks"]["max_drop_in_class_quality"]["metadata"] == {"held_against": "nothing"}
    warned = left_out["checks"]["every_image_is_scored"]
    assert (warned["passed"], warned["severity"]) == (False, "WARN")
    assert [row["image_id"] for row in warned["metadata"]["images"]] == [f"{LEFT_OUT}-b2", f"{LEFT_OUT}-b3"]

    assert not broken["success"]
    assert not broken["checks"]["max_flagged"]["passed"]
    assert broken["checks"]["max_flagged"]["severity"] == "ERROR"
    assert not refused["success"]
    assert "`masksift plan` exited with code 4: masksift: " in refused["failures"][0]
    assert not (tmp_path / "refused").exists()

    assert found["called"] == ["done", "RetryRequested 3 300", "Failure"]
    assert found["schedules"] == ["masksift_nightly_schedule"]
