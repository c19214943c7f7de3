"""The whole line on Azurite and gcp-storage-emulator: results as on disk, nothing else on standard error, no keys."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import StoreConfig, resolve_options
from masksift.storage.lock import RunLock
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.metadata import open_group
from prepare.ingest.helpers import InputFiles
from review.report.report_files import write_rgb_source
from support.cli import error_message, run_cli
from support.emulators import (
    ACCOUNT_KEY,
    CLOUD_VARIABLES,
    Emulator,
    run_azurite,
    run_gcs_emulator,
    shared_access_signature,
)
from support.results import read_files
from support.sources import erase_chunks, make_data, write_source

SERVERS = {"az": run_azurite, "gs": run_gcs_emulator}
LOCAL = ("--executor.kind", "local", "--executor.workers", "2", "--log-format", "quiet")
SERIAL = ("--executor.kind", "serial", "--log-format", "quiet")


@pytest.fixture(scope="module", params=SERVERS)
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with run_azurite(tmp_path_factory.mktemp("az")) as running:
        yield running


@pytest.fixture
def lake(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectDirectory:
    """Empty directory of the emulator, whose variables are set in this process."""
    return _enter(emulator, monkeypatch, request.node.name)


@pytest.fixture
def azure_lake(azurite: Emulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectDirectory:
    """Empty directory of Azurite."""
    return _enter(azurite, monkeypatch, request.node.name)


def _enter(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, test: str) -> ObjectDirectory:
    for name in [name for name in os.environ if name.startswith(CLOUD_VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    url = f"{emulator.scheme}://lake/{test.split('[')[0]}"
    return ObjectDirectory(url, resolve_options(StoreConfig(), [url]))


def upload(lake: ObjectDirectory, path: Path, name: str) -> str:
    """Upload a directory and return its URL."""
    for file, data in read_files(path).items():
        lake.write(f"{name}/{file}", data)
    return f"{lake.url}/{name}"


def read_tables(lake: ObjectDirectory, run: str) -> dict[str, object]:
    """Return the tables of a run on the emulator by name."""
    tables = {}
    for name in ("thresholds.parquet", "class_pairs.parquet"):
        tables[name] = pq.read_table(io.BytesIO(lake.read(f"{run}/{name}") or b"")).to_pylist()
    for name in ("ranking", "images", "regions"):
        files = [file for file in lake.names(f"{run}/{name}") if file.endswith(".parquet")]
        tables[name] = [
            row
            for file in files
            for row in pq.read_table(io.BytesIO(lake.read(f"{run}/{name}/{file}") or b"")).to_pylist()
        ]
    return tables


def masksift(*args: object, code: int = 0) -> str:
    """Run a command in a separate process; standard error must be empty. Return standard output."""
    command = [sys.executable, "-m", "masksift", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    return done.stdout


def test_commands_on_a_cloud_give_the_results_on_disk_and_print_nothing_else(
    lake: ObjectDirectory, tmp_path: Path
) -> None:
    source = tmp_path / "a.zarr"
    write_rgb_source(source, make_data())
    url, out = upload(lake, source, "a.zarr"), f"{lake.url}/run"
    assert run_cli("run", "--source", source, "--out", tmp_path / "run") == 0
    disk = upload(lake, tmp_path / "run", "disk")
    expected = read_tables(lake, "disk")
    assert "8 images" in masksift("plan", "--source", url, "--out", out)
    masksift("run", "--source", url, "--out", out, *LOCAL)
    assert read_tables(lake, "run") == expected

    lake.remove("run/run.json")
    for name in lake.names("run/manifest/score"):
        lake.remove(f"run/manifest/score/{name}")
    masksift("run", "--source", url, "--out", out, *SERIAL)
    record = json.loads(lake.read("run/run.json") or b"")
    stages = {stage["name"]: stage["reused_blocks"] for stage in record["stages"]}
    assert (stages["condense"], stages["score"]) == (1, 0), "resumed"
    assert read_tables(lake, "run") == expected

    masksift("score", out, "--out", f"{lake.url}/again", "--softmin.temperature", 0.2, *SERIAL)
    masksift("run", "--source", url, "--base", out, "--out", f"{lake.url}/reused", *SERIAL)
    assert json.loads(lake.read("reused/run.json") or b"")["kept_sources"] == 1
    assert masksift("compare", out, disk)
    masksift("report", out, "--top", 2, "--log-format", "quiet")
    masksift("check", out, "--max-quarantined", 0)
    assert len(masksift("top", out, "-n", 3, "--json").splitlines()) == 3
    masksift("show", out, "a/0", "--out", f"{lake.url}/picture.png")
    assert (lake.read("picture.png") or b"").startswith(b"\x89PNG")
    masksift("export", "label-studio", out, "--out", f"{lake.url}/export", "--log-format", "quiet")
    assert lake.names("export")


def test_ingest_and_glob_on_a_cloud_find_files_and_sources(
    lake: ObjectDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = InputFiles(tmp_path / "in")
    url = upload(lake, tmp_path / "in", "in")
    args = ("--labels", f"{url}/labels/*.png", "--predictions", f"{url}/predictions", "--ignore", 255)
    for day in ("2026-11-22", "2026-11-23"):
        assert run_cli("ingest", *args, "--out", f"{lake.url}/dt={day}/a.zarr") == 0
    assert run_cli("run", "--source", f"{lake.url}/dt=*/a.zarr", "--out", tmp_path / "out") == 0
    assert pq.read_table(tmp_path / "out/images").num_rows == 2 * len(inputs.data.labels)
    assert capsys.readouterr().err == ""


def test_run_on_a_cloud_quarantines_the_images_of_missing_chunks(lake: ObjectDirectory, tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    erase_chunks(source.predictions, slice(2, 4))
    url = upload(lake, source.path, "a.zarr")
    assert run_cli("run", "--source", url, "--out", tmp_path / "out") == 3
    status = pq.read_table(tmp_path / "out/images").column("status").to_pylist()
    assert status == ["scored"] * 2 + ["missing_chunk"] * 2 + ["scored"] * 4


def test_second_run_in_a_directory_on_a_cloud_is_refused(
    lake: ObjectDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    with RunLock(ObjectDirectory(f"{lake.url}/run", lake.options), print):
        assert run_cli("run", "--source", source.path, "--out", f"{lake.url}/run") == 2
    assert "is in use by another run" in error_message(capsys)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs hands bytes to aiohttp
def test_objects_on_a_cloud_have_content_types_and_any_size(
    lake: ObjectDirectory, emulator: Emulator, tmp_path: Path
) -> None:
    lake.write("report/index.html", b"<p>")
    name = urllib.parse.quote(f"{lake.url.split('/', 3)[3]}/report/index.html", safe="")
    address = {
        "az": f"{emulator.url}/lake/{name}?{shared_access_signature()}",
        "gs": f"{emulator.url}/lake/{name}",
    }[emulator.scheme]
    with urllib.request.urlopen(address) as answer:
        assert answer.headers.get_content_type() == "text/html"
    large = tmp_path / "large"
    large.write_bytes(os.urandom(12 << 20))
    lake.put("large", str(large))
    assert lake.read("large") == large.read_bytes()
    lake.remove("large")
    lake.remove("large")
    assert lake.names() == ["report"]


def test_configuration_of_fsspec_in_the_environment_gives_access(
    lake: ObjectDirectory, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(lake, write_source(tmp_path / "a.zarr", make_data(images=2)).path, "a.zarr")
    settings = {
        "az": {"FSSPEC_AZ_CONNECTION_STRING": emulator.environment.get("AZURE_STORAGE_CONNECTION_STRING", "")},
        "gs": {"FSSPEC_GS_ENDPOINT_URL": emulator.url, "FSSPEC_GS_TOKEN": "anon"},
    }[emulator.scheme]
    for name in emulator.environment:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    masksift("run", "--source", url, "--out", f"{lake.url}/out", *SERIAL)


def test_bucket_that_does_not_exist_is_refused_with_the_url(
    lake: ObjectDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{lake.url.partition('://')[0]}://nobucket/a.zarr"
    assert run_cli("run", "--source", url, "--out", tmp_path / "out") == 2
    assert url in error_message(capsys)


# --------------------------------------------------------------------------------------------------------- Azure


def test_create_on_azure_has_one_winner_in_a_race(azure_lake: ObjectDirectory) -> None:
    directories = [ObjectDirectory(azure_lake.url, azure_lake.options) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        created = threads.map(lambda i: directories[i].create("lock", b"%d" % i), range(8))
        assert sorted(created) == [False] * 7 + [True]


@pytest.mark.parametrize("scheme", ["az", "abfs", "abfss"])
def test_all_schemes_of_azure_name_the_same_objects(azure_lake: ObjectDirectory, tmp_path: Path, scheme: str) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    url = upload(azure_lake, source.path, "a.zarr").replace("az://", f"{scheme}://")
    options = resolve_options(StoreConfig(), [url])
    assert sorted(open_group(url, options).array_keys()) == ["labels", "predictions"]
    filesystem, path = open_filesystem(url, options)
    assert filesystem.unstrip_protocol(path) == url


@pytest.mark.parametrize("setting", ["variables", "signature", "fsspec", "options", "development"])
def test_azure_credentials_from_every_place_give_access_and_are_not_printed(
    azure_lake: ObjectDirectory,
    azurite: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import fsspec.config

    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    url = upload(azure_lake, source.path, "a.zarr")
    text = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    signature, flags = shared_access_signature("rl"), ()
    if setting == "fsspec":
        monkeypatch.setitem(fsspec.config.conf, "az", {"connection_string": text})
    elif setting == "signature":
        text = f"BlobEndpoint={azurite.url};AccountName=devstoreaccount1;SharedAccessSignature={signature}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    elif setting == "development":
        text = f"UseDevelopmentStorage=true;BlobEndpoint={azurite.url}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    else:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
        if setting == "variables":
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite.url)
        else:
            flags = ("--storage.account", "devstoreaccount1", "--storage.endpoint_url", azurite.url)
    out = tmp_path / "out"
    assert run_cli("run", "--source", url, "--out", out, *flags) == 0
    assert run_cli("run", "--source", url.replace("lake", "nobucket"), "--out", tmp_path / "bad", *flags) == 2
    if setting == "signature":
        assert run_cli("run", "--source", url, "--out", f"{azure_lake.url}/denied", *flags) != 0, "may not write"
    printed = capsys.readouterr()
    texts = [printed.out.encode(), printed.err.encode(), *read_files(out).values()]
    for secret in (ACCOUNT_KEY, signature.partition("sig=")[2], urllib.parse.unquote(signature.partition("sig=")[2])):
        assert not any(secret.encode() in text for text in texts)


def test_wrong_key_of_azure_is_refused_without_printing_it(
    azure_lake: ObjectDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, wrong = os.environ["AZURE_STORAGE_CONNECTION_STRING"], "d3Jvbmcta2V5LW9mLXRoZS10ZXN0cw=="
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text.replace(ACCOUNT_KEY, wrong))
    assert run_cli("run", "--source", "az://lake/a.zarr", "--out", tmp_path / "out") == 2
    message = error_message(capsys)
    assert message.startswith("az://lake/a.zarr cannot be read")
    assert wrong not in message


def test_public_container_is_read_without_credentials(
    azurite: Emulator, azure_lake: ObjectDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{azurite.url}/public?restype=container&{shared_access_signature()}"
    headers = {"x-ms-blob-public-access": "container", "x-ms-version": "2021-08-06"}
    urllib.request.urlopen(urllib.request.Request(address, method="PUT", headers=headers)).close()
    place = ObjectDirectory("az://public", azure_lake.options)
    url = upload(place, write_source(tmp_path / "a.zarr", make_data(images=2)).path, "a.zarr")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    flags = ("--storage.anonymous", "true", "--storage.account", "devstoreaccount1")
    args = ("--source", url, "--out", tmp_path / "out", *flags, "--storage.endpoint_url", azurite.url)
    assert run_cli("run", *args) == 0


def test_workers_use_the_azure_credentials_of_the_client(
    azure_lake: ObjectDirectory, tmp_path: Path, scheduler_address: str
) -> None:
    url = upload(azure_lake, write_source(tmp_path / "a.zarr", make_data()).path, "a.zarr")
    args = ("--source", url, "--out", f"{azure_lake.url}/out", "--executor.address", scheduler_address)
    masksift("run", *args, "--executor.kind", "dask", "--log-format", "quiet")
    assert azure_lake.read("out/run.json")
