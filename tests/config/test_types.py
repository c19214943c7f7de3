"""Value types of the configuration: names of classes in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from masksift.config.types import ClassNameList
from masksift.core.errors import UsageError
from support.cli import run_cli
from support.errors import raises
from support.sources import make_data, write_source

NAMES = ("road", "sky, cloudy", "rüben")


def read(value: object) -> tuple[str, ...]:
    return TypeAdapter(ClassNameList).validate_python(value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "road\nsky, cloudy\nrüben\n"),
        ("names", "\ufeffroad\r\n  sky, cloudy\r\n\r\nrüben"),
        ("names.json", '["road", "sky, cloudy", "rüben"]'),
        ("a,b", ' ["road", "sky, cloudy", "rüben"]'),
    ],
)
@pytest.mark.parametrize("form", ["{}", "@{}", "file://{}"])
def test_class_names_are_read_from_a_file(tmp_path: Path, name: str, content: str, form: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read(form.format(tmp_path / name)) == NAMES


def test_class_names_without_a_file_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read("road, sky") == ("road", "sky")
    assert read(["@road", "names.txt"]) == ("@road", "names.txt"), "names in a list are names"
    (tmp_path / "road").mkdir()
    assert read("road") == ("road",), "a directory holds no names"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.txt", None, "No such file"),
        ("@gone", None, "No such file"),
        ("@s3://bucket/names.txt", None, "No such file"),
        ("empty.txt", b"\n \n", "it is empty"),
        ("a.json", b'{"road": 1}', "it is not a list of names"),
        ("a.json", b'["road",', "Expecting value"),
        ("deep.json", b"[" * 100_000, "nested deeper"),
        ("a.txt", b"\xff\xfe\x00", "codec can't decode"),
    ],
)
def test_file_without_class_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with raises(UsageError, rf"The class names in {name} cannot be read \(.*{reason}.*Pass a local text file"):
        read(name)


def test_commands_take_class_names_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", make_data())
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    assert run_cli("run", "--source", source, "--out", tmp_path / "out", "--classes", names) == 0
    capsys.readouterr()
    names.write_text("a\nb\nc\n")
    assert run_cli("run", "--source", source, "--out", tmp_path / "out2", "--classes", f"@{names}") == 2
    assert "3" in capsys.readouterr().err
