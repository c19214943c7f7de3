"""Plan, run and check the labels of the previous day every night, and report quarantined images.

A file for the DAGs folder of Airflow 3.3 or newer. It does not import masksift, which is installed in a separate
environment and called by its command; exit codes are the contract. Settings of a site:

    airflow variables set masksift_command /opt/masksift/bin/masksift
    airflow pools set masksift 1 'runs of masksift at a time'
    airflow connections add masksift_notify --conn-type http --conn-password 'https://chat.example.com/hooks/...'

The connection is a webhook that takes {"text": ...}; its URL is stored as a password, because anyone who has it can
post. Without the connection, the table is only logged. masksift finds credentials of the store where AWS's tools do.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, Connection, Param, Variable, task
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.timetables.interval import CronDataIntervalTimetable

LEFT_OUT, INTERRUPTED, BROKEN = 3, 5, 6
"""Exit codes: complete with quarantined images; interrupted and resumable; a limit is broken."""

SOURCE = "{{ params.source }}/dt={{ data_interval_start | ds }}/site=*"
OUT = "{{ params.quality }}/dt={{ data_interval_start | ds }}"
BEFORE = "{{ params.quality }}/dt={{ macros.ds_add(data_interval_start | ds, -1) }}"


def with_base(argument: str) -> str:
    """Return the argument if the results of the day before are complete, otherwise nothing."""
    return "{% if ti.xcom_pull('yesterday').code == 0 %}" + argument + "{% endif %}"


class Masksift(BaseOperator):
    """Run one masksift command and return its exit code and output.

    ``words``: its arguments, without empty ones. ``also``: exit codes other than 0 that are no failure, with their
    meaning.
    """

    template_fields = ("words",)

    def __init__(self, *, words: Sequence[str], also: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = list(words)
        self.also = dict(also or {})
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        code, lines = self._call(
            [*shlex.split(Variable.get("masksift_command", default="masksift")), *filter(None, self.words)]
        )
        self.log.info("exit code %d%s", code, f": {self.also[code]}" if code in self.also else "")
        if code == 0 or code in self.also:
            return {"code": code, "text": "\n".join(lines)}
        message = "; ".join(line for line in lines if line.startswith(("masksift: ", "FAILED"))) or "\n".join(
            lines[-5:]
        )
        if code == BROKEN:
            message += (
                f"; downstream tasks do not start. See {self.words[1]}/report/index.html; "
                "then correct the labels or set other limits, and clear this task"
            )
        error = f"`masksift {self.words[0]}` exited with code {code}: {message}"
        raise RuntimeError(error) if code == INTERRUPTED else AirflowFailException(error)  # the latter is not retried

    def _call(self, command: Sequence[str]) -> tuple[int, list[str]]:
        """Run a command, log its output line by line, and return its exit code and lines."""
        self.log.info("%s", shlex.join(command))
        lines = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as self._process:
            try:
                for line in self._process.stdout:
                    lines.append(line.rstrip("\n"))
                    self.log.info("%s", lines[-1])
            except BaseException:  # a task that times out leaves no process behind
                self._process.terminate()
                raise
        return self._process.returncode, lines

    def on_kill(self) -> None:
        """Let masksift stop cleanly with exit code 5; the next attempt resumes."""
        if self._process is not None:
            self._process.terminate()


@task.short_circuit
def any_left_out(outcome: dict[str, Any]) -> bool:
    """Skip the following tasks if no image is quarantined."""
    return outcome["code"] == LEFT_OUT


@task
def notify(day: str, table: dict[str, Any]) -> None:
    """Post the table to the webhook of the connection `masksift_notify`, if it exists."""
    try:
        url = Connection.get("masksift_notify").password
    except AirflowNotFoundException:
        return
    body = json.dumps({"text": f"masksift quarantined images of {day}\n```\n{table['text']}\n```"}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=30):
        pass


with DAG(
    "masksift_nightly",
    description="Find likely label errors of the previous day, and check whether the labels are good enough",
    # the interval is named by its start: the run at 02:00 processes the previous day
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # in order, so that each day finds the previous one
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
    },
    params={
        "source": Param("s3://lake/seg", type="string", description="location of dt=YYYY-MM-DD/site=*"),
        "quality": Param("s3://lake/quality", type="string", description="location of results, one folder per day"),
        "config": Param(None, type=["null", "string"], description="TOML file with the other keys of a run"),
        "max_flagged": Param("5%", type="string", description="limit of flagged pixels, a share of the labeled ones"),
        "max_quarantined": Param("1%", type="string", description="limit of quarantined images, a share of all"),
        "max_drop": Param("5%", type="string", description="quality that a class may lose since the day before"),
    },
) as dag:
    line = ["{{ params.config or '' }}", "--source", SOURCE, "--out", OUT]
    yesterday = Masksift(
        task_id="yesterday",
        words=["check", BEFORE, "--max-quarantined", "100%", "--top", "0"],
        also={2: "no complete results of the day before: run without a base"},
    )
    plan = Masksift(task_id="plan", words=["plan", *line, with_base(f"--base={BEFORE}")])
    run = Masksift(
        task_id="run",
        words=["run", *line, with_base(f"--base={BEFORE}"), "--log-format", "json"],
        also={LEFT_OUT: "complete, with quarantined images"},
        pool="masksift",
        execution_timeout=timedelta(hours=12),
    )
    table = Masksift(
        task_id="left_out",
        words=["check", OUT, "--max-quarantined", "0", "--top", "20"],
        also={BROKEN: "the quarantined images"},
    )
    check = Masksift(
        task_id="check",
        words=[
            "check",
            OUT,
            "--max-flagged",
            "{{ params.max_flagged }}",
            "--max-quarantined",
            "{{ params.max_quarantined }}",
            with_base(f"--base={BEFORE}"),
            with_base("--max-drop-in-class-quality={{ params.max_drop }}"),
        ],
        outlets=[Asset("masksift_quality")],  # for downstream schedules: labels within the limits
    )
    yesterday >> plan >> run >> check
    any_left_out(run.output) >> table >> notify("{{ data_interval_start | ds }}", table.output)
