"""Write `cronworkflow.yaml`: the nightly run as an Argo CronWorkflow (`pip install 'hera[yaml]'`).

Names of secrets, config maps and service accounts are those of the Kubernetes manifests; the run is submitted to the
Dask cluster that the run's TOML file names. A pod's exit code is that of masksift.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hera.workflows import (
    ConfigMapVolume,
    Container,
    CronWorkflow,
    EmptyDirVolume,
    Env,
    Parallel,
    Parameter,
    Resources,
    RetryStrategy,
    SecretVolume,
    Step,
    Steps,
)
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ContinueOn,
    ExecutorConfig,
    Metadata,
    Mutex,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    Synchronization,
    TTLStrategy,
    ValueFrom,
)

IMAGE = "masksift:0.3.0"
CONFIG = "/etc/masksift/run/run.toml"
USER = 10001
HEADER = "# Written by cronworkflow.py: change that file and run it again.\n"

# The day of the data is the day before the workflow was created, unless it is set; its base is the day before that, if
# complete (2: it is not).
DAY = """set -eu
day=${DAY:-$(date -u -d "@$((CREATED - 86400))" +%F)}
before=$QUALITY/dt=$(date -u -d "$day 1 day ago" +%F)
code=0
masksift check "$before" --max-quarantined 100% --top 0 || code=$?
case $code in
    0) base=$before ;;
    2) base= ;;
    *) exit "$code" ;;
esac
printf %s "$day" >/scratch/day
printf %s "$base" >/scratch/base
"""

# 3 is complete too, and a failing step would stop the following ones: pass the code on as a parameter.
RUN = f"""set -eu
code=0
masksift run {CONFIG} --source "$SOURCE" --out "$OUT" ${{BASE:+--base "$BASE"}} --log-format json || code=$?
case $code in
    0 | 3) printf %s "$code" >/scratch/code ;;
    *) exit "$code" ;;
esac
"""

CHECK = """set -eu
exec masksift check "$OUT" --max-flagged "$MAX_FLAGGED" --max-quarantined "$MAX_QUARANTINED" \\
    ${BASE:+--base "$BASE" --max-drop-in-class-quality "$MAX_DROP"}
"""


def workflow_parameter(name: str) -> str:
    """Reference a parameter of the workflow."""
    return f"{{{{workflow.parameters.{name}}}}}"


def template_input(name: str) -> str:
    """Reference an input of a template."""
    return f"{{{{inputs.parameters.{name}}}}}"


def step_output(step: str, name: str) -> str:
    """Reference an output of an earlier step."""
    return f"{{{{steps.{step}.outputs.parameters.{name}}}}}"


SOURCE = f"{workflow_parameter('source')}/dt={template_input('day')}/site=*"
OUT = f"{workflow_parameter('quality')}/dt={template_input('day')}"


def masksift(
    name: str,
    args: Sequence[str],
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    env: dict[str, str] | None = None,
    memory: str = "1Gi",
    scratch: str = "1Gi",
    **more: Any,
) -> Container:
    """Return one step: the client's container of the manifests. ``outputs``: parameters that it writes as files."""
    variables = {
        "DASK_CONFIG": "/etc/dask",
        "DASK_TEMPORARY_DIRECTORY": "/scratch",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
    }
    return Container(
        name=name,
        image=IMAGE,
        command=["/usr/local/bin/entrypoint"],  # named, so that Argo does not ask the registry for it
        args=list(args),
        inputs=[Parameter(name=one) for one in inputs],
        outputs=[Parameter(name=one, value_from=ValueFrom(path=f"/scratch/{one}")) for one in outputs],
        env=[Env(name=key, value=value) for key, value in (variables | (env or {})).items()],
        resources=Resources(
            cpu_request="1",
            cpu_limit="2",
            memory_request=memory,
            memory_limit=memory,
            ephemeral_request=scratch,
            ephemeral_limit=scratch,
        ),
        security_context=SecurityContext(
            allow_privilege_escalation=False, read_only_root_filesystem=True, capabilities=Capabilities(drop=["ALL"])
        ),
        volumes=[
            ConfigMapVolume(name="masksift-run", mount_path="/etc/masksift/run", read_only=True),
            ConfigMapVolume(name="masksift-dask", mount_path="/etc/dask", read_only=True),
            SecretVolume(
                name="tls",
                secret_name="masksift-tls",
                mount_path="/etc/masksift/tls",
                read_only=True,
                default_mode=0o440,
            ),
            EmptyDirVolume(name="scratch", mount_path="/scratch", size_limit=scratch),
        ],
        # 5 resumes; -1 is a pod that was lost before it had an exit code
        retry_strategy=RetryStrategy(
            limit="3",
            retry_policy="Always",
            expression="asInt(lastRetry.exitCode) in [5, -1]",
            backoff=Backoff(duration="5m", factor="2", max_duration="2h"),
        ),
        **more,
    )


def nightly() -> CronWorkflow:
    """Return the workflow: every night at 02:00 UTC, the labels of the previous day."""
    with CronWorkflow(
        name="masksift-nightly",
        namespace="masksift",
        labels={"app.kubernetes.io/name": "masksift"},
        schedules=["0 2 * * *"],
        timezone="Etc/UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=7,
        failed_jobs_history_limit=7,
        entrypoint="night",
        active_deadline_seconds=12 * 3600,
        # days submitted by hand wait for each other too
        synchronization=Synchronization(mutexes=[Mutex(name="masksift-nightly")]),
        ttl_strategy=TTLStrategy(seconds_after_completion=7 * 86400),
        service_account_name="masksift",
        automount_service_account_token=False,
        executor=ExecutorConfig(service_account_name="masksift-argo"),  # see access.yaml
        security_context=PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        pod_metadata=Metadata(labels={"app.kubernetes.io/name": "masksift", "app.kubernetes.io/component": "client"}),
        arguments=[
            Parameter(name="source", value="s3://lake/seg"),
            Parameter(name="quality", value="s3://lake/quality"),
            Parameter(name="day", value="", description="YYYY-MM-DD; empty: the day before the workflow was created"),
            Parameter(name="max-flagged", value="5%"),
            Parameter(name="max-quarantined", value="1%"),
            Parameter(name="max-drop", value="5%"),
        ],
    ) as workflow:
        day = masksift(
            "day",
            ["sh", "-c", DAY],
            outputs=["day", "base"],
            active_deadline_seconds=3600,
            env={
                "DAY": workflow_parameter("day"),
                "CREATED": "{{workflow.creationTimestamp.s}}",
                "QUALITY": workflow_parameter("quality"),
            },
        )
        plan = masksift(
            "plan",
            ["masksift", "plan", CONFIG, "--source", SOURCE, "--out", OUT],
            inputs=["day"],
            active_deadline_seconds=3600,
        )
        run = masksift(
            "run",
            ["sh", "-c", RUN],
            inputs=["day", "base"],
            outputs=["code"],
            memory="3Gi",
            scratch="6Gi",
            env={"SOURCE": SOURCE, "OUT": OUT, "BASE": template_input("base")},
        )
        left_out = masksift(
            "left-out",
            ["masksift", "check", OUT, "--max-quarantined", "0", "--top", "20"],
            inputs=["day"],
            active_deadline_seconds=3600,
        )
        check = masksift(
            "check",
            ["sh", "-c", CHECK],
            inputs=["day", "base"],
            active_deadline_seconds=3600,
            env={
                "OUT": OUT,
                "BASE": template_input("base"),
                "MAX_FLAGGED": workflow_parameter("max-flagged"),
                "MAX_QUARANTINED": workflow_parameter("max-quarantined"),
                "MAX_DROP": workflow_parameter("max-drop"),
            },
        )
        day_arguments = {"day": step_output("day", "day")}
        base_arguments = day_arguments | {"base": step_output("day", "base")}
        with Steps(name="night"):
            Step(name="day", template=day)
            Step(name="plan", template=plan, arguments=day_arguments)
            Step(name="run", template=run, arguments=base_arguments)
            with Parallel():
                # its log is the table of quarantined images; it fails and stops nothing
                Step(
                    name="left-out",
                    template=left_out,
                    arguments=day_arguments,
                    when=f"{step_output('run', 'code')} == 3",
                    continue_on=ContinueOn(failed=True),
                )
                Step(name="check", template=check, arguments=base_arguments)
    return workflow


if __name__ == "__main__":
    Path(__file__).with_suffix(".yaml").write_text(HEADER + nightly().to_yaml())
