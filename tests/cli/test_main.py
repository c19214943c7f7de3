"""Exit codes, messages and effects of the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from zarr.abc.store import RangeByteRequest
from zarr.storage import LocalStore

from masksift.engine.planning import layout
from masksift.storage.zarr import stores
from support.cli import error_message, exit_code, run_cli
from support.errors import assert_sentences
from support.results import read_files, read_rows
from support.sources import Source, erase_chunks, make_data, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a valid source that no test changes."""
    return write_source(tmp_path_factory.mktemp("good") / "scenes.zarr")


@pytest.fixture(scope="module")
def complete(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a completed run that no test changes."""
    out = tmp_path_factory.mktemp("complete") / "out"
    assert run_cli("run", "--source", source, "--out", out) == 0
    return out


def test_run_prints_top_images_counts_and_result_locations(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    first = read_rows(tmp_path / "out", "ranking")[0]
    assert lines[0].split() == ["rank", "image", "combined"]
    assert lines[1].split() == ["1", first["image_id"], f"{first['score']:.4f}"]
    assert re.fullmatch(r"8 of 8 images scored, \d+ pixels flagged", lines[-3])
    assert lines[-2:] == [f"results: {tmp_path / 'out'}", f"report: {tmp_path / 'out'}/report/index.html"]
    assert printed.err == ""


def test_run_from_a_file_equals_the_run_from_flags(source: Source, complete: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'sources = ["{source}"]\nout = "{tmp_path / "out"}"\n[executor]\nkind = "serial"\n')
    assert exit_code("run", file, "--log-format", "quiet") == 0
    assert read_rows(tmp_path / "out") == read_rows(complete)


def test_run_over_a_completed_run_changes_nothing(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("run", "--source", source, "--out", tmp_path / "out")
    assert run_cli(*args) == 0
    before, first = read_files(tmp_path / "out"), capsys.readouterr().out
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    shutil.copytree(source.path, tmp_path / "kept")
    assert exit_code(*args, "--executor.kind", "serial") == 0
    printed = capsys.readouterr()
    assert printed.err == f"{tmp_path / 'out'} is complete already: nothing to do\n"
    assert printed.out == first
    assert read_files(tmp_path / "out") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == stamps


@pytest.mark.parametrize("form", [{}, {"chunks": (2, 4, 3, 4)}, {"shards": (4, 4, 8, 10)}, {"zarr_format": 2}])
def test_run_reads_each_prediction_byte_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any]
) -> None:
    for name in ("MIN_BLOCK_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(layout, name, 1)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    source = write_source(tmp_path / "a.zarr", **form)
    read, get, index = Counter[Path](), LocalStore.get, 2 * 16 + 4

    async def spy(self: LocalStore, key: str, prototype: Any, byte_range: Any = None) -> Any:
        value = await get(self, key, prototype, byte_range)
        if value is not None and (byte_range is None or isinstance(byte_range, RangeByteRequest)):
            read[Path(self.root) / key] += len(value)
        return value

    read_local = stores.InstrumentedStore._read_local

    def spy_read_local(self: Any, path: Path, key: str, part: Any) -> Any:
        data = read_local(self, path, key, part)
        if data is not None:
            read[path] += data.size
        return data

    monkeypatch.setattr(LocalStore, "get", spy)
    monkeypatch.setattr(stores.InstrumentedStore, "_read_local", spy_read_local)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    chunks = {path for path in source.predictions.rglob("*") if re.fullmatch(r"\d[\d.]*", path.name) and path.is_file()}
    sharded = "shards" in form
    assert {path: read[path] for path in chunks} == {p: p.stat().st_size - index * sharded for p in chunks}

    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["blocks"] == 4
    condense = record["stages"][0]
    labels = {path for path in source.labels.rglob("*") if re.fullmatch(r"\d[\d.]*", path.name) and path.is_file()}
    stored = sum(path.stat().st_size for path in chunks | labels)
    assert stored <= condense["bytes_read"] < stored + 8192 * record["blocks"], "besides: metadata, and shards' indexes"
    assert record["bytes_read"] == sum(stage["bytes_read"] for stage in record["stages"])


INVALID_ARGS: dict[str, tuple[list[str], str]] = {
    "no command": ([], r"arguments are required: COMMAND\. See `masksift --help`"),
    "unknown command": (
        ["rnu"],
        r"Unknown command 'rnu'\. The commands are quickstart, run, plan, score, .*Did you mean 'run'\?",
    ),
    "misspelled flag": (["run", "--sorce", "a"], r"Unknown flag '--sorce'\. Did you mean --source\?"),
    "misspelled section": (["run", "--sofmin.temperature", "1"], r"'--sofmin.temperature'\. .*--softmin.temperature\?"),
    "partial flag": (
        ["run", "--temperature=1"],
        r"Unknown flag '--temperature'\. Did you mean --softmin.temperature\?",
    ),
    "abbreviated flag": (["run", "--sour", "a"], r"Unknown flag '--sour'\. Did you mean --source\?"),
    "flag without a value": (["run", "--out"], r"Argument --out.*: expected one argument\. See `masksift run --help`"),
    "extra argument": (["run", "a.toml", "b.toml"], r"Unexpected argument 'b.toml'\. .*`masksift run --help`"),
    "no source": (["run", "--out", "o"], "--source is required\\. Pass --source URL"),
    "no out": (["run", "--source", "s"], "--out is required\\. Pass --out URL"),
    "an empty source": (["run", "--source", "", "--out", "o"], "sources must be text that is not empty"),
    "an empty out": (["run", "--source", "s", "--out", ""], "out must be text that is not empty"),
    "invalid number": (
        ["run", "--source", "s", "--out", "o", "--tccp.lattice", "x"],
        "tccp.lattice must be a whole number, got 'x'",
    ),
    "invalid format": (["run", "--log-format", "xml"], "invalid choice: 'xml'"),
    "no such source": (["run", "--source", "nowhere", "--out", "o"], "no Zarr group at nowhere"),
    "no such file": (["run", "nowhere.toml"], "Cannot read nowhere.toml"),
    "directory instead of a file": (["run", "."], r"Cannot read \. \(Is a directory\)\. .*go to --source"),
    "an unknown store": (["run", "--source", "foo://a", "--out", "o"], "foo://a cannot be opened"),
    "nothing to score": (["score", "nowhere", "--out", "o"], "nowhere contains no completed run"),
    "fixed flag": (["score", "r", "--scale", "1"], r"--scale cannot change in `masksift score`\. .*Omit it"),
}


@pytest.mark.parametrize("name", INVALID_ARGS)
def test_invalid_arguments_exit_with_2_and_write_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args, message = INVALID_ARGS[name]
    assert exit_code(*args) == 2
    assert re.search(message, error_message(capsys))
    assert list(tmp_path.iterdir()) == []


def write_invalid_source(folder: Path, what: str) -> Source:
    data = make_data()
    if what == "labels as floats":
        return write_source(folder, data._replace(labels=data.labels.astype("float32")))
    if what == "shapes that disagree":
        return write_source(folder, data._replace(labels=data.labels[:, :7]))
    if what == "class counts that disagree":
        return write_source(folder, attributes={"class_names": ["road", "sky"]})
    source = write_source(folder)
    shutil.rmtree(source.path / what.removeprefix("no "))
    return source


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("labels as floats", "Labels 'labels' of .* are stored as float32"),
        ("shapes that disagree", "8 images of 8 x 10, its labels 8 of 7 x 10"),
        ("class counts that disagree", "has predictions of 4 classes and 2 class names: road, sky"),
        ("no predictions", "contains no array 'predictions', only 'labels'"),
        ("no labels", "contains no array 'labels', only 'predictions'"),
    ],
)
def test_invalid_source_exits_with_2(
    what: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("run", "plan"):
        args = ["--source", write_invalid_source(tmp_path / "a.zarr", what), "--out", tmp_path / "out"]
        assert exit_code(verb, *args, "--executor.kind", "serial") == 2
        assert re.search(message, error_message(capsys))
    assert not (tmp_path / "out").exists()


def test_run_into_another_run_exits_with_2_and_changes_nothing(
    source: Source, complete: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(complete)
    assert run_cli("run", "--source", source, "--out", complete, "--softmin.temperature", 0.5) == 2
    assert re.search(
        r"inputs or settings \(softmin.temperature was 0.1, is 0.5\).*`masksift score`",
        error_message(capsys),
    )
    assert read_files(complete) == before


def test_run_into_a_directory_with_other_files_exits_with_2(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert run_cli("run", "--source", source, "--out", tmp_path) == 2
    assert re.search(r"contains files that are not results of masksift \(thesis.tex\)", error_message(capsys))
    assert read_files(tmp_path) == {"thesis.tex": b"mine"}


def test_run_into_its_source_exits_with_2(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_files(source.path)
    assert run_cli("run", "--source", source, "--out", source) == 2
    assert "is the input" in error_message(capsys)
    assert read_files(source.path) == before


def test_run_with_more_quarantined_images_than_allowed_exits_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "a.zarr")
    erase_chunks(source.labels, slice(2, 4))
    args = ("run", "--source", source, "--out", tmp_path / "out")
    for allowed, code in (("0", 3), ("1", 3), ("2", 0), ("24%", 3), ("25%", 0)):
        assert run_cli(*args, "--max-quarantined", allowed) == code
        printed = capsys.readouterr()
        assert "6 of 8 images scored" in printed.out
        assert "2 quarantined: missing_chunk" in printed.out
        if code == 0:
            assert printed.err == ""
        else:
            assert f"2 of 8 images are quarantined, more than max_quarantined ({allowed}). " in printed.err
            assert_sentences(printed.err.removeprefix("masksift: ").strip())


def test_run_that_needs_more_memory_exits_with_4_and_both_sizes(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--source", source, "--out", tmp_path / "out", "--executor.memory", "64 MiB")
    message = r"needs 3\d\d\.\d MiB per worker \(.*\), .* has 64\.0 MiB\. .*Use workers with 3\d\d\.\d MiB"
    assert run_cli("run", *args) == 4
    assert re.search(message, error_message(capsys))
    assert exit_code("plan", *args, "--executor.kind", "serial") == 4
    printed = capsys.readouterr()
    assert re.search(message, printed.err)
    assert "limit 64.0 MiB" in printed.out


def test_refused_run_leaves_its_output_usable(source: Source, tmp_path: Path) -> None:
    args = ("run", "--source", source, "--out", tmp_path / "out")
    assert run_cli(*args, "--executor.memory", "64 MiB") == 4
    assert run_cli(*args, "--methods", "softmin,clc") == 0


def test_refused_plan_is_printed(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("plan", "--source", source, "--out", tmp_path / "out", "--executor.memory", "1 MB", "--json")
    assert exit_code(*args) == 4
    assert json.loads(capsys.readouterr().out)["memory"] > 10**6


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            KeyboardInterrupt(),
            "The run was interrupted. Finished blocks are kept. Run the same command again",
        ),
        (RuntimeError("disk full"), "The run failed: RuntimeError: disk full. Finished blocks are kept. Fix the cause"),
    ],
)
def test_stopped_run_exits_with_5_and_resumes(
    error: BaseException,
    expected: str,
    source: Source,
    complete: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    args = ("run", "--source", source, "--out", tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr("masksift.engine.stages.RunStages.score", fail)
        assert run_cli(*args) == 5
    assert expected in error_message(capsys)
    assert run_cli(*args) == 0
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["stages"][0]["reused_blocks"] == record["blocks"]
    assert read_rows(tmp_path / "out") == read_rows(complete)
