"""Read the jobs of this user from SLURM, PBS, SGE, LSF, OAR, HTCondor or Moab.

A Dask cluster class submits and cancels jobs, but does not notice a job that ended before its worker connected.
"""

from __future__ import annotations

import getpass
import re
import shlex
import subprocess
from dataclasses import dataclass

COMMAND_TIMEOUT_SECONDS = 60.0
"""Time after which a listing is given up: a busy queue answers later."""

_WAITING = {
    "squeue": r"PENDING|CONFIGURING|REQUEUE|SUSPENDED|RESV_DEL_HOLD",
    "qstat": r"\s(Q|H|W|T|S|h?qw|hRq|Rq)\s",  # PBS, SGE
    "showq": r"Idle|Hold|Deferred",
    "bjobs": r"PEND|PSUSP|SSUSP|USUSP|WAIT",
    "oarstat": r"\s[WHL]\s",
    "condor_q": r"\s[15]\s*$",
}
"""State of a job that waits, in its line of a listing."""

_LISTINGS = {
    "scancel": "squeue --noheader --user={user} --format='%i %T %r'",
    "qdel": "qstat -u {user}",
    "canceljob": "showq -u {user}",
    "bkill": "bjobs -noheader -o 'jobid stat'",
    "oardel": "oarstat -u {user}",
    "condor_rm": "condor_q -autoformat:j JobStatus",
}
"""Command that lists the unfinished jobs of a user, by the command that cancels one."""


@dataclass(frozen=True)
class JobListing:
    """Unfinished jobs: the ``program`` that listed them and its output, one line per job."""

    program: str
    text: str

    def find(self, job_id: str) -> str | None:
        """Return the line of a job; None if the queue does not have it."""
        # the id may have a prefix (`Moab.17`) or be followed by a server or an index (`17.pbs01`, `17[]`)
        found = re.search(rf"^\s*(?:[A-Za-z]+\.)?{re.escape(job_id)}(?!\d).*$", self.text, re.MULTILINE)
        return None if found is None else found[0]

    def is_waiting(self, line: str) -> bool:
        """Return whether the job of a line waits for its start."""
        return re.search(_WAITING[self.program], line) is not None


def list_jobs(cancel_command: str) -> JobListing | None:
    """List the unfinished jobs of this user.

    Args:
        cancel_command: Command with which a job of the same queue is canceled, such as `scancel`.

    Returns:
        The listing; None if the queue is unknown or does not answer.
    """
    listing = _LISTINGS.get((shlex.split(cancel_command) or [""])[0])
    if listing is None:
        return None
    command = shlex.split(listing.format(user=shlex.quote(getpass.getuser())))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # LSF may report an empty queue as an error
    if done.returncode and "No unfinished job" not in done.stderr:
        return None
    return JobListing(command[0], done.stdout)
