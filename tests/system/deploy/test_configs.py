"""Example configurations in deploy/configs load and mean what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from dask_jobqueue import SLURMCluster

from masksift.config.load import build_run_config, read_toml

CONFIGS = Path(__file__).parents[3] / "deploy/configs"
KINDS = {
    "dask": "dask",
    "gateway": "dask_gateway.GatewayCluster",
    "kubernetes": "kubernetes",
    "local": "local",
    "slurm": "dask_jobqueue.SLURMCluster",
}


def test_configs_cover_every_executor() -> None:
    assert sorted(file.stem for file in CONFIGS.glob("*.toml")) == sorted(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_config_file_is_a_complete_run(name: str) -> None:
    config = build_run_config(read_toml(str(CONFIGS / f"{name}.toml")), {})
    assert config.executor.kind == KINDS[name]
    assert config.executor.workers is not None


@pytest.mark.parametrize("name", ["dask", "kubernetes"])
def test_command_line_in_the_comment_equals_the_file(name: str) -> None:
    file = CONFIGS / f"{name}.toml"
    (args,) = re.findall(r"on the command line: --executor (\S+)", file.read_text())
    tree = read_toml(str(file))
    alone = {**tree, "executor": {key: tree["executor"][key] for key in ("workers", "timeout")}}
    assert build_run_config(alone, {"executor": args}) == build_run_config(tree, {})


def test_slurm_job_has_the_size_of_the_config(tmp_path: Path) -> None:
    options: dict[str, Any] = dict(read_toml(str(CONFIGS / "slurm.toml"))["executor"]["options"])
    here = {
        "interface": "lo",
        "shared_temp_directory": str(tmp_path / "private"),
        "log_directory": str(tmp_path / "logs"),
    }
    (tmp_path / "private").mkdir()
    with SLURMCluster(**{**options, **here}) as cluster:
        script = cluster.job_script()
    for line in ("-p cpu", "-A quality", "-n 1", "--cpus-per-task=1", "--mem=4G", "-t 04:00:00"):
        assert f"#SBATCH {line}\n" in script
    assert "--nthreads 1" in script
    assert "--memory-limit 4.00GiB" in script
    assert "--lifetime 230m" in script
    assert "--tls-ca-file" in script
    assert "\nexport OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1\n" in script
    assert "tls://" in script
