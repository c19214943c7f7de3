"""`masksift plan --k8s`: resources of a plan as a kustomize component."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.system import MEMORY_LIMIT
from distributed.worker_memory import parse_memory_limit
from hypothesis import given
from hypothesis import strategies as st

from masksift.cli.main import main
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.engine.planning import kustomize as kubernetes
from masksift.engine.planning.kustomize import kustomize_component, pod_memory, scratch_bytes, worker_count
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import Plan, make_plan
from support.condensed import a_few
from support.run_processes import write_small_source
from system.deploy.helpers.kustomize import FOLDER, RENDERED, Pod, pods, render, validate

MIB, GIB = 1 << 20, 1 << 30


def plan_of(images: int, classes: int, height: int, width: int, dtype: str, *, tile: int | None = None) -> Plan:
    """Plan for a source on S3 with a report."""
    itemsize = {"uint8": 1, "float16": 2, "float32": 4}[dtype]
    rows, columns = tile or height, tile or width
    predictions = ArraySpec(
        "p", (images, classes, height, width), (1, classes, rows, columns), dtype, itemsize, (0, 1, 2, 3)
    )
    labels = ArraySpec("l", (images, height, width), (1, rows, columns), "uint8", 1, (0, 1, 2))
    names = tuple(f"class {k}" for k in range(classes))
    source = SourceSpec(0, "s", "s3://s", predictions, labels, None, names, (255,), "probabilities", 1.0, 0.05, True)
    settings = Settings(remote=True, min_area=16, max_regions=100_000, report_images=500)
    return make_plan([source], settings, {"what": "a test"})


PLANS = {
    "the documented example": plan_of(2975, 19, 1024, 2048, "float16"),
    "the same in float32": plan_of(2975, 19, 1024, 2048, "float32"),
    "a few tiny images": plan_of(10, 5, 24, 32, "uint8"),
    "one image of 20,000 x 20,000": plan_of(1, 20, 20_000, 20_000, "uint8", tile=1024),
    "a million": plan_of(1_000_000, 19, 1024, 2048, "uint8"),
}


def sized(plan: Plan, folder: Path, base: str) -> list[dict[str, Any]]:
    """Render the base with the component that `masksift plan --k8s` prints."""
    shutil.copytree(FOLDER, folder / "kubernetes")
    for name, text in {
        "sizes": kustomize_component(plan),
        "own": yaml.safe_dump({"resources": [f"../kubernetes/{base}"], "components": ["../sizes"]}),
    }.items():
        (folder / name).mkdir()
        (folder / name / "kustomization.yaml").write_text(text)
    return render(folder / "own")


def of(objects: list[dict[str, Any]], kustomize_component: str) -> Pod:
    [pod] = [pod for pod in pods(objects) if pod.component == kustomize_component]
    return pod


def memory(pod: Pod) -> int:
    text: str = pod.container["resources"]["limits"]["memory"]
    return int(text[:-2]) * {"Mi": MIB, "Gi": GIB}[text[-2:]]


def dask_memory_fraction(pod: Pod) -> float:
    """Fraction of the pod's memory that is the limit of its worker."""
    args = pod.container["args"]
    return float(args[args.index("--memory-limit") + 1])


@pytest.mark.parametrize("base", ["base/cluster", "base/job", "plain", "overlays/aws"])
def test_component_applies_to_every_base_and_passes_schemas(base: str, tmp_path: Path) -> None:
    plan = PLANS["the same in float32"]
    objects = sized(plan, tmp_path, base)
    for one in objects:
        validate(one)
    worker = of(objects, "worker")
    assert memory(worker) == pod_memory(plan.memory)
    assert worker.container["resources"]["requests"]["cpu"] == "1"
    scalers = [one["spec"]["maximum"] for one in objects if one["kind"] == "DaskAutoscaler"]
    assert scalers == ([] if base == "plain" else [worker_count(len(plan.blocks))])
    if base != "base/cluster":
        client = of(objects, "client")
        assert memory(client) == 2 * GIB
        assert client.spec["volumes"][0] == {"name": "scratch", "emptyDir": {"sizeLimit": "2Gi"}}


@pytest.mark.parametrize("case", PLANS)
def test_sized_worker_is_accepted_by_the_plan_and_not_paused_by_dask(case: str, tmp_path: Path) -> None:
    plan = PLANS[case]
    worker = of(sized(plan, tmp_path, "base/job"), "worker")
    dask_memory = int(memory(worker) * dask_memory_fraction(worker))
    plan.check_memory(dask_memory)
    memory_settings = settings()["distributed"]["worker"]["memory"]
    assert plan.memory <= dask_memory * memory_settings["pause"]
    left = memory(worker) - dask_memory * memory_settings["terminate"]
    assert left >= kubernetes.NANNY_BYTES  # for the process that has to see it in time


def test_memory_fractions_equal_those_of_the_manifests() -> None:
    for folder in RENDERED:
        assert dask_memory_fraction(of(render(folder), "worker")) == kubernetes.WORKER_MEMORY_SHARE
    configured = settings()["distributed"]["worker"]["memory"]
    assert (configured["pause"], configured["terminate"]) == (kubernetes.PAUSE_SHARE, kubernetes.TERMINATE_SHARE)
    assert (configured["target"], configured["spill"]) == (False, False)


def test_dask_applies_the_fraction_to_the_cgroup_limit() -> None:
    configured = dask_memory_fraction(of(render("base/job"), "worker"))
    for cores in (1, 64):
        assert parse_memory_limit(str(configured), 1, cores, logger=None) == int(MEMORY_LIMIT * configured)
    assert parse_memory_limit("auto", 1, 64, logger=None) == MEMORY_LIMIT // 64


def test_default_sizes_fit_the_example() -> None:
    worker = of(render("base/job"), "worker")
    for case in ("the documented example", "the same in float32"):
        assert pod_memory(PLANS[case].memory) <= memory(worker)
    assert memory(of(render("base/job"), "client")) == kubernetes.CLIENT_BYTES


def test_image_of_20_000_by_20_000_fits_a_pod_of_about_4_gib() -> None:
    assert pod_memory(PLANS["one image of 20,000 x 20,000"].memory) <= 4.25 * GIB


@a_few
@given(peak=st.integers(1, 1 << 40))
def test_pod_size_grows_with_memory(peak: int) -> None:
    limit = pod_memory(peak)
    assert limit % (64 * MIB) == 0
    assert limit <= pod_memory(peak + 64 * MIB)
    assert peak <= limit * kubernetes.WORKER_MEMORY_SHARE * kubernetes.PAUSE_SHARE


@pytest.mark.parametrize(("blocks", "workers"), [(1, 1), (8, 1), (9, 2), (115, 15), (1600, 200), (1_000_000, 200)])
def test_worker_count_follows_the_blocks(blocks: int, workers: int) -> None:
    assert worker_count(blocks) == workers


@pytest.mark.parametrize(("images", "measured"), [(1_000_000, 0), (10_000_000, 791), (100_000_000, 13_992)])
def test_client_scratch_fits_the_measured_ranking_files(images: int, measured: int) -> None:
    assert measured * MIB < scratch_bytes(images) <= 2 * measured * MIB + 2 * GIB


def test_component_refuses_a_manifest_with_other_fractions(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes/base/cluster/cluster.yaml"
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    path.write_text(path.read_text().replace("- name: worker\n", "- name: sidecar\n", 1))
    (tmp_path / "kubernetes/sizes").mkdir()
    (tmp_path / "kubernetes/sizes/kustomization.yaml").write_text(kustomize_component(PLANS["a few tiny images"]))
    (tmp_path / "kubernetes/own").mkdir()
    (tmp_path / "kubernetes/own/kustomization.yaml").write_text("resources: [../base/job]\ncomponents: [../sizes]\n")
    with pytest.raises(AssertionError, match=r"testing value .*containers/0/name failed"):
        render(tmp_path / "kubernetes/own")


def test_command_prints_the_component(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["plan", "--source", str(write_small_source(tmp_path / "s.zarr")), "--out", str(tmp_path / "out"), "--k8s"]
    assert main([*args, "--executor.memory", "1 MB", "--executor.workers", "3"]) == 0  # the pods are made to fit
    tree = yaml.safe_load(capsys.readouterr().out)
    assert tree["kind"] == "Component"
    assert [patch["target"]["kind"] for patch in tree["patches"]] == [
        "DaskCluster",
        "DaskAutoscaler",
        "DaskJob",
        "Deployment",
        "Job",
    ]
    [most] = yaml.safe_load(tree["patches"][1]["patch"])
    assert most["value"] == 1  # forty tiny images
    with pytest.raises(SystemExit, match="2"):
        main([*args, "--json"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_worker_count_is_capped_by_the_configuration() -> None:
    plan = PLANS["a million"]
    for most, workers in ((None, 200), (12, 12), (1000, 200)):
        text = kustomize_component(plan, most)
        assert "enough for 200 workers" in text
        assert f"workers = {workers}\n" in text
        assert f'"path": "/spec/maximum", "value": {workers}}}' in text


def settings() -> Any:
    return yaml.safe_load((FOLDER / "base/common/masksift.yaml").read_text())
