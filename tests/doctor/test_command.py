"""`masksift doctor`: findings about the installation and about sources, and the command it proposes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr

from masksift.cli.main import main
from masksift.core.specs import ArraySpec
from masksift.doctor import environment
from masksift.doctor.environment import check_credentials
from masksift.doctor.findings import FAILED, OK, WARNING, Diagnosis, Finding
from masksift.doctor.sources import check_chunks
from masksift.storage.credentials import StoreConfig
from prepare.ingest.helpers import save_image
from prepare.predict.helpers import make_images, write_images
from support.cli import exit_code
from support.datasets import Data
from support.sources import erase_chunks, make_data, write_source


def doctor(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[dict[str, str]], str | None]:
    """Return the exit code, the findings without those of the installation, and the next command."""
    code = exit_code("doctor", *args, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] == (code == 0)
    return code, result["findings"][len(list(environment.check_environment())) :], result["next"]


# ---------------------------------------------------------------------------------------------------- installation


def test_doctor_without_a_source_checks_the_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"ok       masksift \S+, Python 3\.\d+\.\d+, dask \S+, ", lines[0])
    assert any(re.match(r"ok       \d+ cores, .* of memory for each of the local workers", line) for line in lines)
    assert any(re.match(r"ok       kernels are (not )?compiled", line) for line in lines)
    assert lines[-1] == "next: masksift doctor SOURCE"


def test_doctor_names_requirements_that_are_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "requires", lambda name: ["numpy>=99", "no-such-package>=1", "torch; extra=='a'"])
    finding = next(environment.check_environment())
    assert finding.status == WARNING
    assert finding.text.endswith(f"but masksift needs numpy>=99 (installed: {np.__version__}), no-such-package>=1")


def test_doctor_warns_of_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "memory_limit", lambda *args, **kwargs: 1 << 29)
    [finding] = [one for one in environment.check_environment() if "local workers" in one.text]
    assert (finding.status, finding.advice) == (WARNING, "Pass --executor serial, or fewer --executor.workers")


# ----------------------------------------------------------------------------------------------------- credentials


def credentials(url: str, **options: object) -> list[Finding]:
    return list(check_credentials([url, "local"], StoreConfig(**options)))  # type: ignore[arg-type]


def test_doctor_names_credentials_without_printing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert credentials("s3://bucket/a") == [Finding(OK, "S3: credentials of the environment")]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg==")
    assert credentials("az://container/a") == [Finding(OK, "Azure: an account key")]
    assert credentials("gs://bucket/a", anonymous=True) == [Finding(OK, "Google Cloud Storage: unsigned requests")]


def test_doctor_warns_of_missing_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    [finding] = credentials("s3://bucket/a")
    assert (finding.status, finding.text) == (WARNING, "S3: no credentials found here")
    [finding] = credentials("s3://bucket/a", profile="absent")
    assert (finding.status, finding.text) == (FAILED, "AWS profile 'absent' does not exist here.")


# --------------------------------------------------------------------------------------------------------- sources


def test_doctor_of_a_valid_source_proposes_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=5))
    code, findings, command = doctor(capsys, source, "--ignore", "255")
    assert code == 0
    assert [one["status"] for one in findings] == ["ok"] * 4
    assert findings[0]["text"] == "a: 5 images of 8 x 10, 4 classes, float32 probabilities, labels uint8, ignore [255]"
    assert findings[1]["text"] == "predictions in chunks of 2 x 4 x 8 x 10, 2.5 KiB"
    assert findings[3]["text"] == "labels and predictions of 3 images of a are valid"
    assert command == f"masksift run --source {source} --ignore 255 --out quality"
    out = tmp_path / "out"
    assert main([*shlex.split(command)[1:-1], str(out), "--executor", "serial", "--log-format", "quiet"]) == 0


def test_doctor_finds_an_image_that_would_be_quarantined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=5)
    data.labels[4, 3, 2] = 9
    source = write_source(tmp_path / "a.zarr", data)
    code, findings, command = doctor(capsys, source)
    assert (code, command) == (6, None)
    assert findings[-1]["status"] == "failed"
    assert findings[-1]["text"].startswith("image a/4 would be quarantined as bad_labels: ")
    assert "9" in findings[-1]["text"]
    assert "--remap" in findings[-1]["advice"]


def test_doctor_finds_logits_that_are_called_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=3)
    logits = np.log(data.predictions + 1e-3).astype(np.float32)
    source = write_source(tmp_path / "a.zarr", Data(logits, data.labels, data.ignore))
    code, findings, _ = doctor(capsys, source)
    assert code == 6
    assert "bad_probabilities" in findings[-1]["text"]
    assert "--kind logits" in findings[-1]["advice"]
    assert doctor(capsys, source, "--kind", "logits")[0] == 0


def test_doctor_finds_a_missing_chunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=5))
    erase_chunks(source.predictions, slice(2, 4))
    code, findings, _ = doctor(capsys, source)
    assert code == 6
    assert findings[-1]["text"].startswith("image a/2 would be quarantined as missing_chunk")


@pytest.mark.parametrize("order", [("image", "class", "y", "x"), ("image", "y", "x", "class")])
def test_doctor_explains_chunks_that_split_the_class_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: tuple[str, ...]
) -> None:
    data = make_data(images=5)
    source = write_source(tmp_path / "a.zarr", data, chunks=(5, 1, 4, 10), order=order, dimension_names=True)
    code, findings, _ = doctor(capsys, source)
    assert code == 0
    assert findings[1]["status"] == "warning"
    text = "predictions in chunks of 5 x 1 x 4 x 10, 800 B: they split the class axis, so that an image takes 8 reads"
    assert findings[1]["text"] == text
    exec(compile(findings[1]["advice"].partition(": ")[2], "advice", "exec"), {"da": da})
    written = zarr.open_array(f"{source.predictions}-rechunked", mode="r")
    np.testing.assert_array_equal(written, np.asarray(zarr.open_array(source.predictions, mode="r")))
    assert written.chunks == tuple({"image": 5, "class": 4, "y": 8, "x": 10}[name] for name in order)


def test_doctor_validates_the_positive_class_and_ensembles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(images=3, classes=2)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.attrs["ignore"] = list(data.ignore)
    group.create_array("labels", data=data.labels, chunks=(1, 8, 10))
    for name, values in (
        ("positive", data.predictions[:, 1]),
        ("first", data.predictions),
        ("second", data.predictions),
    ):
        group.create_array(name, data=values, chunks=(1, *values.shape[1:]))
    for names in ("positive", "first,second"):
        code, findings, _ = doctor(capsys, tmp_path / "a.zarr", "--arrays.predictions", names)
        assert (code, findings[-1]["text"]) == (0, "labels and predictions of 3 images of a are valid"), names
    group["second"][2, 0, 0, 0] = np.nan
    code, findings, _ = doctor(capsys, tmp_path / "a.zarr", "--arrays.predictions", "first,second")
    assert (code, findings[-1]["status"]) == (6, "failed")
    assert "image a/2 would be quarantined as bad_probabilities" in findings[-1]["text"]


def test_chunks_of_many_small_objects_on_a_network_are_a_warning() -> None:
    spec = ArraySpec("s3://b/a/predictions", (10_000, 4, 8, 10), (1, 4, 8, 10), "uint8", 1, (0, 1, 2, 3))
    finding = check_chunks(spec)
    assert finding.status == WARNING
    assert finding.text.endswith("an image takes 1 request for small objects")


def test_doctor_compares_the_plan_with_the_memory_of_a_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=5))
    code, findings, _ = doctor(capsys, source, "--executor", "local", "--executor.memory", "100 MiB")
    assert code == 6
    [failed] = [one for one in findings if one["status"] == "failed"]
    assert failed["text"].startswith("The run needs ")
    assert failed["advice"].startswith("Use workers with ")


# -------------------------------------------------------------------------------------------- what is no source yet


def test_doctor_of_images_and_labels_proposes_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_images(tmp_path / "a.zarr", *make_images())
    code, findings, command = doctor(capsys, source, "--ignore", "255", "--scale", "0.5")
    assert code == 0
    assert findings[-1]["text"] == "a: 9 images of 16 x 20 with labels of 3 classes, no predictions"
    assert command == f"masksift predict --source {source} --ignore 255 --out predictions.zarr"


def test_doctor_of_a_directory_of_files_proposes_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "masks" / "a.png", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "a.npy", np.zeros(3))
    code, findings, command = doctor(capsys, tmp_path)
    assert code == 6
    assert findings[-1]["text"] == f"{tmp_path} is a directory of files (1 .npy, 1 .png), no Zarr group"
    assert command is not None
    assert command.startswith("masksift quickstart --images IMAGES --labels LABELS")


def test_doctor_of_nothing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings, command = doctor(capsys, tmp_path / "absent")
    assert (code, command) == (6, None)
    assert findings == [
        {
            "status": "failed",
            "text": f"There is no Zarr group at {tmp_path / 'absent'}.",
            "advice": "Pass the URL of a group with the arrays 'predictions' and 'labels'.",
        }
    ]


def test_doctor_with_an_invalid_key_is_a_usage_error(tmp_path: Path) -> None:
    assert exit_code("doctor", tmp_path, "--kind", "x") == 2


def test_text_of_a_diagnosis_has_the_advice_below_each_finding() -> None:
    diagnosis = Diagnosis([Finding(OK, "fine"), Finding(FAILED, "broken", "Repair it")], "masksift run")
    assert diagnosis.text() == "ok       fine\nfailed   broken\n         Repair it\nnext: masksift run"
    assert not diagnosis.passed
