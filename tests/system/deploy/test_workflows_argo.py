"""Argo CronWorkflow: generated, schema-checked, restricted; its steps run locally with their exact arguments."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hera.workflows import CronWorkflow

from masksift.cli.parser import make_parser
from system.deploy.helpers.nightly import LEFT_OUT, lake, record, write_command, write_config, write_fake_command

FOLDER = Path(__file__).parents[3] / "deploy/workflows/argo"
TEXT = (FOLDER / "cronworkflow.yaml").read_text()
TREE: dict[str, Any] = yaml.safe_load(TEXT)
SPEC: dict[str, Any] = TREE["spec"]["workflowSpec"]
TEMPLATES: dict[str, dict[str, Any]] = {one["name"]: one for one in SPEC["templates"]}
CONTAINERS = {name: one for name, one in TEMPLATES.items() if "container" in one}
KUBERNETES = kubernetes_validate.latest_version()


def test_file_equals_the_generated_one() -> None:
    spec = importlib.util.spec_from_file_location("cronworkflow", FOLDER / "cronworkflow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.HEADER + module.nightly().to_yaml() == TEXT, "run deploy/workflows/argo/cronworkflow.py"


def strict(text: str) -> bool:
    """Return whether Argo's schema (from hera) knows every field."""
    workflow: Any = CronWorkflow.from_yaml(text)
    return bool(yaml.safe_load(workflow.to_yaml()) == yaml.safe_load(text))


def test_fields_pass_argos_schema_and_a_misspelled_one_fails() -> None:
    assert strict(TEXT)
    for right in ("concurrencyPolicy", "retryPolicy", "readOnlyRootFilesystem", "continueOn"):
        assert right in TEXT
        assert not strict(TEXT.replace(right, right.lower())), right


def pods() -> Iterator[dict[str, Any]]:
    """Pod that Kubernetes receives for each step."""
    for name, one in CONTAINERS.items():
        spec = {
            "containers": [{"name": "main", **one["container"]}],
            "volumes": one["volumes"],
            "securityContext": SPEC["securityContext"],
            "serviceAccountName": SPEC["serviceAccountName"],
            "automountServiceAccountToken": SPEC["automountServiceAccountToken"],
        }
        metadata = {"name": name, **SPEC["podMetadata"]}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_pods_and_rbac_pass_kubernetes_schemas() -> None:
    for tree in [*pods(), *yaml.safe_load_all((FOLDER / "access.yaml").read_text())]:
        kubernetes_validate.validate(tree, KUBERNETES, strict=True)
    invalid = copy.deepcopy(next(pods()))
    invalid["spec"]["containers"][0]["securityContext"]["privilegd"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="privilegd"):
        kubernetes_validate.validate(invalid, KUBERNETES, strict=True)


def test_pods_are_restricted_and_limited() -> None:
    pod = SPEC["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, 10001, {"type": "RuntimeDefault"})
    assert SPEC["automountServiceAccountToken"] is False
    assert SPEC["executor"]["serviceAccountName"] == "masksift-argo"
    for one in CONTAINERS.values():
        context, resources = one["container"]["securityContext"], one["container"]["resources"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert {mount["name"] for mount in one["container"]["volumeMounts"]} == {
            part["name"] for part in one["volumes"]
        }
        writable = [mount["mountPath"] for mount in one["container"]["volumeMounts"] if not mount.get("readOnly")]
        assert writable == ["/scratch"]
        assert not any("secretKeyRef" in str(env) or "KEY" in env["name"] for env in one["container"]["env"])


def test_workflow_is_exclusive_and_has_a_deadline() -> None:
    assert TREE["spec"]["concurrencyPolicy"] == "Forbid"
    assert SPEC["synchronization"] == {"mutexes": [{"name": "masksift-nightly"}]}
    assert SPEC["activeDeadlineSeconds"] <= 24 * 3600
    assert TREE["spec"]["startingDeadlineSeconds"] < 22 * 3600, "the day is the one before the workflow was made"


def test_only_resumable_exit_codes_are_retried() -> None:
    for one in CONTAINERS.values():
        strategy = one["retryStrategy"]
        found = re.fullmatch(r"asInt\(lastRetry\.exitCode\) in \[(.*)\]", strategy["expression"])
        assert found is not None
        assert {int(code) for code in found[1].split(",")} == {5, -1}
        assert (strategy["limit"], strategy["retryPolicy"]) == ("3", "Always")


# ------------------------------------------------------------------------------------------------- steps run locally


@dataclass
class Night:
    """Steps of the workflow in order, in a folder that stands for the file system of the pods."""

    folder: Path
    bin: Path
    day: str
    codes: dict[str, int] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def run(self, **given: str) -> Night:
        """Run until a step fails that must stop the others."""
        for parameter in SPEC["arguments"]["parameters"]:
            self.values[f"workflow.parameters.{parameter['name']}"] = parameter["value"]
        own = {"source": str(self.folder / "lake"), "quality": str(self.folder / "quality"), "day": self.day, **given}
        self.values |= {f"workflow.parameters.{name.replace('_', '-')}": value for name, value in own.items()}
        self.values["workflow.creationTimestamp.s"] = "1795658400"  # 2026-11-26 02:00 UTC
        for group in TEMPLATES[SPEC["entrypoint"]]["steps"]:
            stop = [self._step(step) != 0 and "continueOn" not in step for step in group if self._is_due(step)]
            if any(stop):
                break
        return self

    def _is_due(self, step: dict[str, Any]) -> bool:
        left, is_, right = self._render(step.get("when", "1 == 1")).split()
        assert is_ == "=="
        return left == right

    def _render(self, text: str) -> str:
        return re.sub(r"\{\{(.*?)\}\}", lambda found: self.values[found[1]], text)

    def _step(self, step: dict[str, Any]) -> int:
        name, template = step["name"], CONTAINERS[step["template"]]
        inputs = {one["name"]: self._render(one["value"]) for one in step.get("arguments", {}).get("parameters", [])}
        assert inputs.keys() == {one["name"] for one in template.get("inputs", {}).get("parameters", [])}
        self.values |= {f"inputs.parameters.{key}": value for key, value in inputs.items()}
        scratch = self.folder / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)

        def localize(text: str) -> str:
            return self._render(text).replace("/scratch", str(scratch)).replace("/etc/masksift/run", str(self.folder))

        assert template["container"]["command"] == ["/usr/local/bin/entrypoint"]
        env = {one["name"]: localize(one.get("value", "")) for one in template["container"]["env"]}
        env.pop("DASK_CONFIG")  # has no certificates here
        done = subprocess.run(
            [localize(word) for word in template["container"]["args"]],
            capture_output=True,
            text=True,
            check=False,
            env={**env, "PATH": f"{self.bin}:/usr/bin:/bin"},
            timeout=300,
        )
        self.codes[name], self.output[name] = done.returncode, done.stdout + done.stderr
        if done.returncode == 0:
            for one in template.get("outputs", {}).get("parameters", []):
                self.values[f"steps.{name}.outputs.parameters.{one['name']}"] = Path(
                    one["valueFrom"]["path"].replace("/scratch", str(scratch))
                ).read_text()
        return done.returncode


def called(bin_: Path) -> list[list[str]]:
    return [line.split() for line in (bin_ / "called").read_text().splitlines()]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder on PATH: `subprocess` searches the PATH of this process."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_arguments_of_steps_are_accepted_by_masksift(made: Path) -> None:
    bin_ = write_fake_command(made / "bin", run="3")
    night = Night(made, bin_, "2026-11-22").run()
    assert night.codes == {"day": 0, "plan": 0, "run": 0, "left-out": 0, "check": 0}
    for args in called(bin_):
        _, rest = make_parser().parse_known_args(args)
        assert rest == [], args
    verbs = [shlex.join(args[:2]) for args in called(bin_)]
    today, before = (f"{made}/quality/dt=2026-11-{day}" for day in (22, 21))
    run = ["run", f"{made}/run.toml"]
    assert verbs == [f"check {before}", f"plan {made}/run.toml", shlex.join(run), f"check {today}", f"check {today}"]
    args = called(bin_)[2]
    assert args[2:] == [
        "--source",
        f"{made}/lake/dt=2026-11-22/site=*",
        "--out",
        today,
        "--base",
        before,
        "--log-format",
        "json",
    ]


def test_default_day_is_the_day_before_the_workflow(made: Path) -> None:
    bin_ = write_fake_command(made / "bin", check="2 0")
    night = Night(made, bin_, "").run()
    assert night.values["steps.day.outputs.parameters.day"] == "2026-11-25"
    assert night.values["steps.day.outputs.parameters.base"] == ""
    assert "--base" not in called(bin_)[2]
    assert "--max-drop-in-class-quality" not in called(bin_)[3]
    assert "left-out" not in night.codes


@pytest.mark.parametrize(
    ("verb", "code", "last"), [("plan", 4, "plan"), ("run", 5, "run"), ("run", 2, "run"), ("check", 5, "day")]
)
def test_exit_code_of_a_step_fails_the_workflow(made: Path, verb: str, code: int, last: str) -> None:
    night = Night(made, write_fake_command(made / "bin", **{verb: str(code)}), "2026-11-22").run()
    assert list(night.codes.items())[-1] == (last, code)


def test_workflow_with_quarantined_images_and_a_failed_check_fails(made: Path) -> None:
    lake(made / "lake")
    write_config(made)
    limits = {"max_flagged": "100%", "max_quarantined": "1"}
    night = Night(made, write_command(made / "bin"), LEFT_OUT).run(**limits)
    assert night.codes == {"day": 0, "plan": 0, "run": 0, "left-out": 6, "check": 6}, night.output
    assert f"{LEFT_OUT}-b2" in night.output["left-out"]
    assert re.search(r"FAILED +max_quarantined +1 +2 of 12 images quarantined", night.output["check"])
    assert record(made / "quality", LEFT_OUT)["counts"] == {"missing_chunk": 2, "scored": 10}
