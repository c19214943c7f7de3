"""Container image without a container engine: the Dockerfile is parsed and its steps run in an empty folder."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sources import make_data, write_source
from system.deploy.helpers.dockerfile import NO_NETWORK, Build, Instruction, StepFailed, instructions, is_in_context

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
STEPS = instructions((DEPLOY / "Dockerfile").read_text())
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEALTH = runpy.run_path(str(DEPLOY / "healthcheck"))


def steps(keyword: str) -> list[Instruction]:
    return [step for step in STEPS if step.keyword == keyword]


def last_stage() -> list[Instruction]:
    return STEPS[max(i for i, step in enumerate(STEPS) if step.keyword == "FROM") :]


# ---------------------------------------------------------------------------------------------- the Dockerfile


def test_build_context_holds_exactly_what_is_copied() -> None:
    copied = {source for step in steps("COPY") if "from" not in step.flags for source in step.args[:-1]}
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    through = {path for path in files if is_in_context(path, IGNORED)}
    expected = {path for path in files if any(path == source or path.startswith(f"{source}/") for source in copied)}
    assert through == expected
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        "deploy/tls.key",
        "demo-run/source.zarr/zarr.json",
        "pipeline/masksift.egg-info/PKG-INFO",
        "pipeline/masksift/kernels/__pycache__/walk.cpython-311.pyc",
        "deploy/requirements-dev.txt",
    ],
)
def test_build_context_excludes_local_files(path: str) -> None:
    assert not is_in_context(path, IGNORED)


def test_user_is_numeric_and_not_root() -> None:
    (user,) = steps("USER")
    assert user.rest == "10001:10001"
    following = [step.keyword for step in STEPS[STEPS.index(user) :]]
    assert not {"RUN", "COPY", "FROM", "USER"} & set(following[1:])


def test_steps_download_only_from_base_image_and_index() -> None:
    text = "\n".join(f"{step.keyword} {step.rest}" for step in STEPS)
    assert not re.search(r"(?im)^ADD |\b(curl|wget|git|apt|apt-get)\b|https?://|:latest\b", text)


def test_stages_start_from_the_pinnable_base() -> None:
    stages = [step.rest for step in steps("FROM")]
    assert stages == ["${BASE} AS base", "base AS build", "base"]
    (base,) = [step.rest for step in steps("ARG") if step.rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", base)


def test_image_holds_no_secret() -> None:
    names = [arg.partition("=")[0] for kind in ("ARG", "ENV") for step in steps(kind) for arg in step.args]
    assert not [name for name in names if re.search(r"(?i)key|secret|token|passw|credential", name)]


def test_packages_are_installed_by_hash_from_wheels() -> None:
    installs = re.findall(
        r"\bpip (?:--python \S+ )?install (.*?)(?= &&|$)", "\n".join(step.rest for step in steps("RUN")), re.MULTILINE
    )
    wheels = [args for args in installs if "dist/*.whl" in args]
    assert len(wheels) == 1
    assert "--no-deps" in wheels[0]
    assert len(installs) == 3
    assert all("--require-hashes" in args and "--only-binary :all:" in args for args in installs if args not in wheels)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_pins_have_versions_and_hashes_and_no_index(name: str) -> None:
    text = (DEPLOY / name).read_text()
    pins = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
    assert not re.search(r"(?i)--(extra-)?index-url|--find-links|https?://", text)


def test_pins_cover_the_extras_of_the_image() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (DEPLOY / "requirements.txt").read_text(), re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    needed = [
        *PROJECT["dependencies"],
        *(one for name in ("export", "iceberg", "kubernetes", "telemetry") for one in extras[name]),
    ]
    assert {re.match(r"[\w.-]+", one)[0] for one in needed} <= pinned  # type: ignore[index]


def test_labels_describe_the_image() -> None:
    (label,) = steps("LABEL")
    configured = dict(arg.split("=", 1) for arg in label.args)
    prefix = "org.opencontainers.image"
    assert {name.removeprefix(f"{prefix}.") for name in configured} == {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
        "created",
        "source",
    }
    arguments = dict(step.args[0].split("=", 1) for step in steps("ARG"))
    assert configured[f"{prefix}.title"] == PROJECT["name"]
    assert configured[f"{prefix}.description"] == PROJECT["description"]
    assert configured[f"{prefix}.licenses"] == PROJECT["license"]
    assert configured[f"{prefix}.version"] == "${VERSION}"
    assert arguments["VERSION"] == PROJECT["version"]


def test_entrypoint_runs_without_a_shell() -> None:
    assert [step.rest for step in steps("ENTRYPOINT")] == ['["/usr/local/bin/entrypoint"]']
    assert [step.rest for step in steps("CMD")] == ['["masksift", "--help"]']
    for name in ("entrypoint", "healthcheck"):
        assert os.access(DEPLOY / name, os.X_OK)


# ------------------------------------------------------------------------------------------------ health check


@pytest.mark.parametrize(
    ("args", "requested"),
    [
        ("python /opt/masksift/bin/dask scheduler --host 0.0.0.0", "http://127.0.0.1:8787/health"),
        ("python /opt/masksift/bin/dask scheduler --dashboard-address :9999", "http://127.0.0.1:9999/health"),
        ("dask worker tls://s:8786 --nthreads 1 --dashboard-address :8788", "http://127.0.0.1:8788/health"),
        ("tini -- dask worker --dashboard-address=0.0.0.0:8790", "http://127.0.0.1:8790/health"),
        ("python /opt/masksift/bin/masksift run /etc/masksift/run/run.toml", None),
        ("masksift show scheduler worker", None),
    ],
)
def test_health_check_uses_the_port_of_the_command(args: str, requested: str | None) -> None:
    assert HEALTH["address"](args.split()) == requested


# ------------------------------------------------------------------------------------------------ built image


class Image:
    """Result of the build steps, writable only in `/scratch`."""

    def __init__(self, build: Build) -> None:
        self.root, self.environment = build.root, build.environment
        # root may write what nobody may, by a right that it can give up
        held = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        self._before = [*held, str(self.root / "usr/local/bin/entrypoint")]

    def command(self, *args: str) -> list[str]:
        return [*self._before, *args]

    def run(self, *args: str, code: int = 0, **more: str) -> str:
        """Output of a container started with these arguments; it must exit with ``code``."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.root / "scratch",
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @property
    def cache(self) -> set[str]:
        """Kernels compiled into `/scratch`."""
        return {path.name for path in (self.root / "scratch/numba").rglob("*.nbc")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Run the steps of the Dockerfile in an empty folder."""
    root = tmp_path_factory.mktemp("image") / "root"
    build = Build(root, ROOT, IGNORED)
    try:
        build.do(STEPS)
        for place in ("opt", "usr", "etc"):
            subprocess.run(["chmod", "-R", "a-w", root / place], check=True)
        yield Image(build)
    except StepFailed as e:
        if NO_NETWORK.search(str(e)):
            pytest.skip(f"the package index cannot be reached: {str(e)[-300:]}")
        raise
    finally:
        subprocess.run(["chmod", "-R", "u+w", root.parent], check=True)
        shutil.rmtree(root.parent)


def test_image_has_no_build_tools(image: Image) -> None:
    installed = {path.name.partition("-")[0] for path in image.root.glob("*/**/site-packages/*.dist-info")}
    assert "masksift" in installed
    assert not installed & {"pip", "uv", "setuptools", "wheel"}
    programs = {
        path.name for folder in ("opt/masksift/bin", "usr/local/bin") for path in (image.root / folder).iterdir()
    }
    assert {"masksift", "dask", "python", "entrypoint", "healthcheck"} <= programs
    assert not [name for name in programs if re.match(r"pip|uv|gcc|cc|make|wheel", name)]
    assert {path.name for path in image.root.iterdir()} == {"etc", "opt", "scratch", "usr"}


def test_image_has_the_commands_of_every_role(image: Image) -> None:
    assert image.run("masksift", "--version") == f"masksift {PROJECT['version']}\n"
    assert "usage: masksift" in image.run("masksift", "--help")
    assert "--scheduler-file" in image.run("dask", "scheduler", "--help")
    assert "--nthreads" in image.run("dask", "worker", "--help")


def test_extras_of_the_image_import(image: Image) -> None:
    names = "kr8s, pyiceberg.catalog.sql, pycocotools.mask, prometheus_client, opentelemetry.sdk.trace"
    image.run("python", "-W", "error::ImportWarning", "-c", f"import {names}")


def test_run_compiles_nothing_and_writes_only_to_scratch(image: Image) -> None:
    source = write_source(image.root / "scratch/source.zarr", make_data())
    image.run("true")
    warm = image.cache
    out = image.root / "scratch/out"
    output = image.run(
        "masksift",
        "run",
        "--source",
        str(source.path),
        "--out",
        str(out),
        "--executor.workers",
        "1",
        NUMBA_DEBUG_CACHE="1",
    )
    assert (out / "run.json").exists()
    assert (out / "report/index.html").exists()
    assert "data loaded from" in output
    assert "data saved to" not in output
    assert image.cache == warm
    image.run("touch", str(image.root / "opt/masksift/written"), code=1)


def test_numba_ignores_a_read_only_cache(image: Image) -> None:
    kept = image.root / "opt/masksift/numba"
    ask = "from masksift.scoring.kernels.condense_loops import store_codes; print(store_codes._cache.cache_path)"
    assert str(kept) not in image.run("python", "-c", ask, NUMBA_CACHE_DIR=str(kept))
    assert str(image.root / "scratch/numba") in image.run("python", "-c", ask)


def test_image_without_scratch_names_the_mount(image: Image) -> None:
    nowhere = image.root / "opt/numba"
    output = image.run("masksift", "--version", code=2, NUMBA_CACHE_DIR=str(nowhere))
    assert "cannot be written" in output
    assert "Mount a tmpfs or an emptyDir at /scratch" in output


def test_scheduler_is_healthy_while_it_responds(image: Image) -> None:
    args = ("dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", f"127.0.0.1:{_port()}")
    url = HEALTH["address"](list(args))
    process = subprocess.Popen(
        image.command(*args),
        cwd=image.root / "scratch",
        env=image.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not (healthy := HEALTH["is_healthy"](url)) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.1)
        assert healthy
    finally:
        process.terminate()
        process.wait()
    assert not HEALTH["is_healthy"](url)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
