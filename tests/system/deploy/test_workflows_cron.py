"""Nightly cron script: real runs over a small data lake, and a fake command for rare exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.results import read_rows
from support.s3_server import S3Server
from system.deploy.helpers.nightly import (
    LEFT_OUT,
    WHOLE,
    files,
    lake,
    record,
    write_command,
    write_config,
    write_fake_command,
)

SCRIPT = Path(__file__).parents[3] / "deploy/workflows/cron/nightly.sh"
DAY, BEFORE = "2026-11-22", "2026-11-21"


def night(folder: Path, bin_: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script over a lake with the `masksift` of ``bin_``."""
    variables = {
        "PATH": f"{bin_}:/usr/bin:/bin",
        "HOME": str(folder),
        "MASKSIFT_SOURCE": str(folder / "lake"),
        "MASKSIFT_QUALITY": str(folder / "quality"),
        "MASKSIFT_PAUSE": "0",
        **environment,
    }
    return subprocess.run([SCRIPT, *args], env=variables, capture_output=True, text=True, timeout=300, check=False)


def called(bin_: Path) -> list[str]:
    return (bin_ / "called").read_text().splitlines()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data lake and the real command."""
    folder = tmp_path_factory.mktemp("cron")
    lake(folder / "lake")
    write_command(folder / "bin")
    write_config(folder)
    return folder


WIDE = "--max-flagged 100% --max-quarantined 50%"


def test_nights_are_quiet_and_a_repeated_night_changes_only_the_check(real: Path) -> None:
    settings = {"MASKSIFT_CONFIG": str(real / "run.toml"), "MASKSIFT_LIMITS": WIDE, "MASKSIFT_DROP": "100%"}
    for day in WHOLE:
        done = night(real, real / "bin", day, **settings)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    quality = real / "quality"
    assert [record(quality, day)["configuration"]["base"] for day in WHOLE] == [None, f"{quality}/dt={WHOLE[0]}"]
    ranked = read_rows(quality / f"dt={WHOLE[1]}", "ranking")
    assert {(str(row["dt"]), row["site"]) for row in ranked} == {(WHOLE[1], "a"), (WHOLE[1], "b")}
    assert len(ranked) == 12
    before = files(quality)
    # again, with a limit that fails
    done = night(real, real / "bin", WHOLE[0], **settings | {"MASKSIFT_LIMITS": "--max-flagged 0"})
    assert done.returncode == 6
    assert "do not use its labels; see" in done.stderr
    assert "FAILED  max_flagged  0" in done.stderr
    assert files(quality) == before


def test_quarantined_images_are_listed_and_do_not_stop_the_night(real: Path) -> None:
    """There is no previous night to compare with."""
    settings = {"MASKSIFT_CONFIG": str(real / "run.toml"), "MASKSIFT_LIMITS": WIDE}
    done = night(real, real / "bin", LEFT_OUT, MASKSIFT_QUALITY=str(real / "other"), **settings)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"masksift, {LEFT_OUT}: images are quarantined; all others are scored" in done.stderr
    assert re.search(rf"  {LEFT_OUT}-b2  \S+/2  missing_chunk  chunk .* does not exist\n", done.stderr)


def test_night_on_an_s3_compatible_store_writes_its_results_there(real: Path, s3_server: S3Server) -> None:
    """Keys and endpoint come from the environment."""
    filesystem = s3_server.filesystem()
    day = f"dt={WHOLE[0]}"
    filesystem.put(f"{real}/lake/{day}", f"lake/seg/{day}", recursive=True)
    settings = {"MASKSIFT_CONFIG": str(real / "run.toml"), "MASKSIFT_LIMITS": WIDE, "AWS_ENDPOINT_URL": s3_server.url}
    places = {"MASKSIFT_SOURCE": "s3://lake/seg", "MASKSIFT_QUALITY": "s3://lake/quality"}
    done = night(real, real / "bin", WHOLE[0], **settings, **places, **s3_server.environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = json.loads(filesystem.cat(f"lake/quality/{day}/run.json"))
    assert found["counts"] == {"scored": 12}


def test_day_without_data_and_refused_plan_are_not_started(real: Path) -> None:
    done = night(real, real / "bin", "2026-12-24")
    assert done.returncode == 2
    assert "the run was not started" in done.stderr
    small = real / "small.toml"
    small.write_text('[executor]\nkind = "local"\nworkers = 1\nmemory = "64 MiB"\n')
    done = night(real, real / "bin", WHOLE[0], MASKSIFT_CONFIG=str(small), MASKSIFT_QUALITY=str(real / "refused"))
    assert done.returncode == 4
    assert "the run was not started" in done.stderr
    assert "has 64.0 MiB" in done.stderr
    assert not (real / "refused").exists()


def test_interrupted_run_is_retried_at_most_three_times(tmp_path: Path) -> None:
    bin_ = write_fake_command(tmp_path / "bin", run="5 5 0")
    done = night(tmp_path, bin_, DAY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    out, base = (f"{tmp_path}/quality/dt={day}" for day in (DAY, BEFORE))
    line = f"--source {tmp_path}/lake/dt={DAY}/site=* --out {out} --base {base}"
    assert called(bin_) == [
        f"check {base} --max-quarantined 100% --top 0",
        f"plan {line}",
        *[f"run {line}"] * 3,
        f"check {out} --max-flagged 5% --max-quarantined 1% --base {base} --max-drop-in-class-quality 5%",
    ]
    bin_ = write_fake_command(tmp_path / "other", run="5")
    done = night(tmp_path, bin_, DAY)
    assert done.returncode == 5
    assert "the run is not complete" in done.stderr
    assert sum(line.startswith("run ") for line in called(bin_)) == 4


@pytest.mark.parametrize("code", [2, 4, 137])
def test_other_exit_codes_are_not_retried(tmp_path: Path, code: int) -> None:
    bin_ = write_fake_command(tmp_path / "bin", run=str(code))
    done = night(tmp_path, bin_, DAY)
    assert done.returncode == code
    assert f"masksift, {DAY}: the run is not complete\nmasksift: the words were run" in done.stderr
    assert sum(line.startswith("run ") for line in called(bin_)) == 1


def test_unreachable_store_is_not_a_missing_previous_night(tmp_path: Path) -> None:
    bin_ = write_fake_command(tmp_path / "bin", check="5")
    done = night(tmp_path, bin_, DAY)
    assert done.returncode == 5
    assert len(called(bin_)) == 1
    assert "cannot find out whether" in done.stderr


def test_second_script_is_refused(tmp_path: Path) -> None:
    bin_ = write_fake_command(tmp_path / "bin")
    with (tmp_path / ".masksift-nightly.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = night(tmp_path, bin_, DAY)
    assert done.returncode == 75
    assert "another instance is running" in done.stderr
    assert not (bin_ / "called").exists()


def test_default_date_is_yesterday_in_utc(tmp_path: Path) -> None:
    bin_ = write_fake_command(tmp_path / "bin")
    args = ["date", "-u", "-d", "yesterday", "+%F"]
    before, after = (subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip() for _ in "12")
    assert night(tmp_path, bin_, TZ="Pacific/Kiritimati").returncode == 0
    assert any(f"/dt={day}/site=*" in called(bin_)[1] for day in (before, after))


@pytest.mark.parametrize("args", [("tomorrow's",), ("2026-13-01",)])
def test_invalid_date_is_refused(tmp_path: Path, args: tuple[str, ...]) -> None:
    bin_ = write_fake_command(tmp_path / "bin")
    done = night(tmp_path, bin_, *args)
    assert done.returncode == 1
    assert "invalid date" in done.stderr
    assert not (bin_ / "called").exists()


def test_missing_location_is_reported(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "MASKSIFT_SOURCE: must be the location of the data lake" in done.stderr


def test_script_passes_shellcheck() -> None:
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("shellcheck is not installed (Debian's package shellcheck)")
    done = subprocess.run([linter, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
