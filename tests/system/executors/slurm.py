"""SLURM on this machine: munged, slurmctld and slurmd with their own key, ports and folder, without systemd."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from system.executors.processes import free_port, until

DAEMONS = ("munged", "slurmctld", "slurmd")
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONFIG = """\
ClusterName=masksift
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=8
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""


def require_slurm() -> None:
    """Skip a test on a machine that cannot run SLURM."""
    missing = [name for name in (*DAEMONS, "sbatch", "squeue", "scancel") if shutil.which(name, path=_SBIN) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as their users, which needs root")


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; ``environment`` lets its commands find it."""

    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command of SLURM; return its output."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def jobs(self) -> list[str]:
        """Return the numbers of the jobs that have not ended."""
        return self.run("squeue", "--noheader", "--format=%i", "--states=PENDING,CONFIGURING,RUNNING").split()

    def cancel(self) -> None:
        """Kill all jobs."""
        self.run("scancel", *self.jobs())


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start the daemons; stop them and every job at the end."""
    host = socket.gethostname().partition(".")[0]
    config, key = folder / "slurm.conf", folder / "munge.key"
    config.write_text(CONFIG.format(host=host, folder=folder, ports=(free_port(), free_port())))
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    paths = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
    munge = [f"--{option}={folder / name}" for option, name in paths.items()]
    commands = [
        [
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            *munge,
        ],  # force: below a folder that others can write
        ["slurmctld", "-D", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config), "-N", host],
    ]
    slurm = Slurm({"SLURM_CONF": str(config)})
    daemons = []
    try:
        for command in commands:
            program = shutil.which(command[0], path=_SBIN)
            assert program is not None
            with open(folder / f"{command[0]}.out", "wb") as log:
                daemons.append(subprocess.Popen([program, *command[1:]], stdout=log, stderr=log))
            until((folder / paths["socket"]).exists, "the socket of munged", 60)
        until(lambda: "idle" in _state(slurm), "an idle node", 60)
        yield slurm
    finally:
        if len(daemons) == len(commands):
            subprocess.run(["scancel", "--user=root"], env={**os.environ, **slurm.environment}, check=False)
            until(lambda: not _state(slurm, "squeue", "--noheader").strip(), "the end of all jobs", 60)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def _state(slurm: Slurm, *command: str) -> str:
    """Return the output of a command, by default the state of the node; the controller may not answer yet."""
    try:
        return slurm.run(*(command or ("sinfo", "--noheader", "--format=%T")))
    except subprocess.CalledProcessError as e:
        return str(e.stderr)
