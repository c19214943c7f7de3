"""Every night the labels of the day before: plan, run, check, and a table of the images that had to be left out.

A file for a DAGs folder of Airflow 3.3 or newer. It imports nothing of masksift, which stands in an environment of its
own and is called by its command; exit codes are the contract. What a site sets:

    airflow variables set masksift_command /opt/masksift/bin/masksift
    airflow pools set masksift 1 'runs of masksift at a time'
    airflow connections add masksift_notify --conn-type http --conn-password 'https://chat.example.com/hooks/...'

The connection is a webhook that takes {"text": ...}; its URL is kept as a password, since whoever has it may post.
Without it the table is in the log alone. Keys of the store are found by masksift, where AWS's tools look for them.
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
"""Exit codes: complete, with images that are not scored; the same command goes on from there; a limit is broken."""

SOURCE = "{{ params.source }}/dt={{ data_interval_start | ds }}/site=*"
OUT = "{{ params.quality }}/dt={{ data_interval_start | ds }}"
BEFORE = "{{ params.quality }}/dt={{ macros.ds_add(data_interval_start | ds, -1) }}"


def with_base(word: str) -> str:
    """The word, where the results of the day before are complete; else nothing."""
    return "{% if ti.xcom_pull('yesterday').code == 0 %}" + word + "{% endif %}"


class Masksift(BaseOperator):
    """One command of masksift. ``words``: what follows its name, empty ones left out; ``also``: exit codes other than 0
    that fail nothing, with their meaning. Answers the exit code and what was printed."""

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
        said = "; ".join(line for line in lines if line.startswith(("masksift: ", "FAILED"))) or "\n".join(lines[-5:])
        if code == BROKEN:
            said += (
                f"; nothing that waits for these labels goes on. Look at {self.words[1]}/report/index.html; "
                "then mend the labels, or set other limits, and clear this task"
            )
        told = f"`masksift {self.words[0]}` ended with exit code {code}: {said}"
        raise RuntimeError(told) if code == INTERRUPTED else AirflowFailException(told)  # the latter is not retried

    def _call(self, command: Sequence[str]) -> tuple[int, list[str]]:
        """The exit code of a command, and the lines that it printed, which are logged as they come."""
        self.log.info("%s", shlex.join(command))
        lines = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as self._process:
            try:
                for line in self._process.stdout:
                    lines.append(line.rstrip("\n"))
                    self.log.info("%s", lines[-1])
            except BaseException:  # a task whose time is over leaves nobody at work
                self._process.terminate()
                raise
        return self._process.returncode, lines

    def on_kill(self) -> None:
        """Masksift ends in good order, with exit code 5: the next attempt goes on from there."""
        if self._process is not None:
            self._process.terminate()


@task.short_circuit
def any_left_out(outcome: dict[str, Any]) -> bool:
    """Whether there is something to tell: all that follows is skipped where there is not."""
    return outcome["code"] == LEFT_OUT


@task
def notify(day: str, table: dict[str, Any]) -> None:
    """Post the table to the webhook of the connection `masksift_notify`, if there is one; the log has it already."""
    try:
        url = Connection.get("masksift_notify").password
    except AirflowNotFoundException:
        return
    body = json.dumps({"text": f"masksift left images of {day} out\n```\n{table['text']}\n```"}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=30):
        pass


with DAG(
    "masksift_nightly",
    description="Which labels of yesterday are likely to be wrong, and whether they are good enough to go on",
    # the interval is named by its beginning: what is run at two in the night is the day before
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # days come in order, so that each finds the one before
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
    },
    params={
        "source": Param("s3://lake/seg", type="string", description="where dt=YYYY-MM-DD/site=* lie"),
        "quality": Param("s3://lake/quality", type="string", description="where results go, a folder a day"),
        "config": Param(None, type=["null", "string"], description="TOML file with the other keys of a run"),
        "max_flagged": Param("5%", type="string", description="of the labelled pixels"),
        "max_quarantined": Param("1%", type="string", description="of the images"),
        "max_drop": Param("5%", type="string", description="what a class may have lost since the day before"),
    },
) as dag:
    line = ["{{ params.config or '' }}", "--source", SOURCE, "--out", OUT]
    yesterday = Masksift(
        task_id="yesterday",
        words=["check", BEFORE, "--max-quarantined", "100%", "--top", "0"],
        also={2: "the results of the day before are not complete: today does without"},
    )
    plan = Masksift(task_id="plan", words=["plan", *line, with_base(f"--base={BEFORE}")])
    run = Masksift(
        task_id="run",
        words=["run", *line, with_base(f"--base={BEFORE}"), "--log-format", "json"],
        also={LEFT_OUT: "complete, but for images that had to be left out"},
        pool="masksift",
        execution_timeout=timedelta(hours=12),
    )
    table = Masksift(
        task_id="left_out",
        words=["check", OUT, "--max-quarantined", "0", "--top", "20"],
        also={BROKEN: "these are the images"},
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
        outlets=[Asset("masksift_quality")],  # what may be scheduled by: labels that keep the limits
    )
    yesterday >> plan >> run >> check
    any_left_out(run.output) >> table >> notify("{{ data_interval_start | ds }}", table.output)
