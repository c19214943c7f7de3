"""Job listings of queues: which jobs there are, and which wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from masksift.runtime.executors.job_queues import JobListing, list_jobs

PBS = """
pbs01:
                                                            Req'd  Req'd   Elap
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----
117.pbs01       anna     workq    dask-work*  51423   1   1    4gb 04:00 R 00:12
118.pbs01       anna     workq    dask-work*    --    1   1    4gb 04:00 Q   --
"""
SGE = """job-ID  prior   name       user         state submit/start at     queue                slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
    117 0.55500 dask-worke anna         r     11/23/2026 10:01:02 all.q@node1              1
    118 0.00000 dask-worke anna         qw    11/23/2026 10:01:03                          1
"""
MOAB = """
active jobs------------------------
JOBID              USERNAME      STATE PROCS   REMAINING            STARTTIME
Moab.117               anna    Running     1    03:48:00  Mon Nov 23 10:01:02
eligible jobs----------------------
JOBID              USERNAME      STATE PROCS     WCLIMIT            QUEUETIME
Moab.118               anna       Idle     1    04:00:00  Mon Nov 23 10:01:03
"""
OAR = """Job id    S User     Duration   System message
--------- - -------- ---------- ------------------------------------------------
117       R anna     0:12:00 R=1,W=4:0:0,J=B,N=dask-worker
118       W anna     0:00:00 R=1,W=4:0:0,J=B,N=dask-worker
"""
LISTINGS = {
    "squeue": "117 RUNNING None\n118 PENDING Resources\n",
    "qstat": PBS,
    "qstat of SGE": SGE,
    "showq": MOAB,
    "bjobs": "117        RUN\n118        PEND\n",
    "oarstat": OAR,
    "condor_q": "117.0 2\n118.0 1\n",
}


@pytest.mark.parametrize("name", LISTINGS)
def test_listing_tells_running_waiting_and_ended_jobs_apart(name: str) -> None:
    listing = JobListing(name.split()[0], LISTINGS[name])
    suffix = ".0" if name == "condor_q" else ""
    running, waiting = listing.find(f"117{suffix}"), listing.find(f"118{suffix}")
    assert running is not None
    assert waiting is not None
    assert (listing.is_waiting(running), listing.is_waiting(waiting)) == (False, True)
    assert [listing.find(f"{number}{suffix}") for number in (11, 7, 1180, 119)] == [None] * 4


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory in which commands are searched."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write_command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("cancel", "program"),
    [
        ("scancel", "squeue"),
        ("qdel", "qstat"),
        ("canceljob", "showq"),
        ("bkill", "bjobs"),
        ("oardel", "oarstat"),
        ("condor_rm -name schedd", "condor_q"),
    ],
)
def test_jobs_are_listed_by_the_program_of_the_same_queue(commands: Path, cancel: str, program: str) -> None:
    write_command(commands, program, "echo 117 PENDING")
    assert list_jobs(cancel) == JobListing(program, "117 PENDING\n")


def test_queue_that_does_not_answer_has_no_listing(commands: Path) -> None:
    write_command(commands, "squeue", "echo '117 PENDING'; exit 1")
    assert list_jobs("scancel") is None
    assert list_jobs("condor_rm") is None  # not installed
    assert list_jobs("ssh login scancel") is None
    assert list_jobs("") is None


def test_empty_queue_of_lsf_is_no_error(commands: Path) -> None:
    write_command(commands, "bjobs", "echo 'No unfinished job found' >&2; exit 255")
    assert list_jobs("bkill") == JobListing("bjobs", "")
