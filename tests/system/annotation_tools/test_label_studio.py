"""Label Studio's own server takes an export, and what a reviewer submits there comes back (`make label-studio`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from masksift.review.file_names import xml_safe
from review.export.helpers import CLASSES, ExportedRun, export, make_difficult_run
from review.imports.helpers import changed_pixels, import_file, paint
from support.emulators import free_port

PYTHON = (
    Path(os.environ.get("MASKSIFT_LABEL_STUDIO") or Path(__file__).parents[3] / ".venv-label-studio") / "bin/python"
)
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 180


class Server:
    """A server with an empty database.

    Args:
        url: URL of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, path: str, body: object = None) -> Any:
        """Get a resource, or post one; returns the parsed answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}{path}", data, headers), timeout=60) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not PYTHON.exists():
        pytest.skip("Label Studio is not installed: run `make label-studio`")
    home, port = tmp_path_factory.mktemp("label_studio"), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "HOME": str(home),
        "LABEL_STUDIO_BASE_DATA_DIR": str(home),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    user = ["--username", "reviewer@example.org", "--password", "secret-12", "--user-token", TOKEN]
    place = ["--port", str(port), "--internal-host", "127.0.0.1", "--no-browser"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON.parent / "label-studio", "start", *place, *user],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, home / "log")
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"Label Studio did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    return make_difficult_run(tmp_path_factory.mktemp("run"))


def test_submitted_regions_come_back_from_the_server(server: Server, run: ExportedRun, tmp_path: Path) -> None:
    assert export("label-studio", run.out, tmp_path / "export") == 0
    interface, tasks = (tmp_path / "export" / name for name in ("label_config.xml", "tasks.json"))
    project = server.request("/api/projects/", {"title": "run", "label_config": interface.read_text()})["id"]
    imported = server.request(f"/api/projects/{project}/import", json.loads(tasks.read_text()))
    assert imported["task_count"] == imported["prediction_count"] == len(run.ordered_images())

    # the reviewer submits the image of regions 1 and 4, and gives region 4 another label
    listed = server.request(f"/api/tasks/?project={project}&fields=all&page_size=100")["tasks"]
    task = next(one for one in listed if (one["data"]["source"], one["data"]["index"]) == ("s", 2))
    result = task["predictions"][0]["result"]
    next(region for region in result if region["meta"]["rank"] == 4)["value"]["brushlabels"] = [xml_safe(CLASSES)[3]]
    server.request(f"/api/tasks/{task['id']}/annotations/", {"result": result, "was_cancelled": False})

    exported = server.request(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "export.json").write_text(json.dumps(exported))
    record = import_file("label-studio", tmp_path / "export.json", run, tmp_path / "fixed")
    edits = [(("s", 2), run.regions[1].mask, 0), (("s", 2), run.regions[4].mask, 3)]
    assert changed_pixels(run, tmp_path / "fixed") == paint(run, *edits)
    assert (record["import"]["images"], record["import"]["edited_shapes"]) == (1, 1)
