"""Container image as buildah builds it: its configuration, its user, a run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.run_processes import read_tables, run_command, write_small_source
from system.deploy.helpers.buildah import Buildah, require_buildah

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    require_buildah()
    folder = tmp_path_factory.mktemp("buildah")
    buildah = Buildah(folder)
    try:
        buildah.build_base()
        buildah.build_image(ROOT)
        yield buildah
    finally:
        shutil.rmtree(folder)


def test_image_has_user_entrypoint_and_health_check(image: Buildah) -> None:
    config = image.config
    assert (config["User"], config["WorkingDir"]) == ("10001:10001", "/scratch")
    assert (config["Entrypoint"], config["Cmd"]) == (["/usr/local/bin/entrypoint"], ["masksift", "--help"])
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-IS", "/usr/local/bin/healthcheck"]
    assert config["Labels"]["org.opencontainers.image.title"] == "masksift"


def test_container_is_its_user_and_writes_only_to_scratch(image: Buildah) -> None:
    assert image.start("id", "-u").split() == ["10001"]
    script = "for place in / /etc /opt/masksift /usr/local/bin /scratch; do test -w $place && echo $place; done; true"
    assert image.start("sh", "-c", script).split() == ["/scratch"]
    assert "usage: masksift" in image.start(*image.config["Cmd"])


def test_image_has_no_build_tools(image: Buildah) -> None:
    script = "for name in pip uv gcc cc make; do command -v $name; done; true"
    assert image.start("sh", "-c", script) == ""
    image.start("python", "-c", "import pip", code=1)
    image.start("/usr/local/bin/python", "-c", "import ensurepip", code=1)


def test_run_in_a_container_gives_the_tables_of_a_local_run(image: Buildah, tmp_path: Path) -> None:
    source = write_small_source(tmp_path / "street.zarr")
    subprocess.run(
        run_command(source, tmp_path / "local", "--executor.kind", "serial"), check=False, capture_output=True
    )
    tmp_path.chmod(0o755)  # another user reads the source
    (tmp_path / "results").mkdir()
    (tmp_path / "results").chmod(0o777)
    args = ("--source", "/data/street.zarr", "--out", "/data/results/out", "--executor.workers", "1")
    image.start("masksift", "run", *args, volume=tmp_path, code=3)  # one image has no valid pixel
    assert (tmp_path / "results/out").stat().st_uid == 10001
    assert read_tables(tmp_path / "results/out") == read_tables(tmp_path / "local")
