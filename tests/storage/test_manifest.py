"""Manifest: a directory belongs to one job, and a task with an output is finished."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import UsageError
from masksift.storage.manifest import GroupAttributesPlan, Manifest, make_job_plan, pack, unpack
from masksift.storage.objects import ObjectDirectory
from support.errors import raises

CONTENTS = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=200), max_size=4)
FINGERPRINT, OTHER_FINGERPRINT = "a" * 64, "b" * 64


def make_plan(fingerprint: str = FINGERPRINT, **identity: Any) -> dict[str, Any]:
    defaults = {"configuration": {"softmin": {"temperature": 0.1}, "ignore": None}, "sources": [{"url": "s"}]}
    return {"fingerprint": fingerprint, "identity": defaults | identity, "blocks": 3}


def in_file(path: Path, fingerprint: str = FINGERPRINT) -> Manifest:
    return Manifest(ObjectDirectory(str(path)), fingerprint)


def in_group(path: Path, fingerprint: str = FINGERPRINT) -> Manifest:
    directory = ObjectDirectory(str(path))
    return Manifest(directory, fingerprint, GroupAttributesPlan(directory, "ingest"))


BOTH = pytest.mark.parametrize(
    ("make_manifest", "plan_file"),
    [(in_file, "manifest/plan.json"), (in_group, "ingest/zarr.json")],
    ids=["file", "group"],
)
MakeManifest = Callable[..., Manifest]


# ------------------------------------------------------------------------------------------------- pack, unpack


@given(CONTENTS)
def test_unpack_returns_what_was_packed(contents: dict[str, bytes]) -> None:
    assert unpack(pack(contents)) == contents


@given(CONTENTS)
def test_pack_of_equal_contents_gives_equal_bytes(contents: dict[str, bytes]) -> None:
    assert pack(dict(reversed(contents.items()))) == pack(contents)
    with zipfile.ZipFile(io.BytesIO(pack(contents))) as archive:
        assert {entry.date_time for entry in archive.infolist()} <= {(1980, 1, 1, 0, 0, 0)}


def test_unpack_of_other_bytes_raises() -> None:
    with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
        unpack(b"nothing")


# ------------------------------------------------------------------------------------------------------- plan


@BOTH
def test_write_plan_in_an_empty_or_new_directory_claims_it(
    tmp_path: Path, make_manifest: MakeManifest, plan_file: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        assert make_manifest(tmp_path / name).write_plan(make_plan(), verb="run") is False
        stored = json.loads((tmp_path / name / plan_file).read_text())
        assert stored.get("attributes", stored) == make_plan()


@BOTH
def test_write_plan_of_the_same_job_resumes(tmp_path: Path, make_manifest: MakeManifest, plan_file: str) -> None:
    make_manifest(tmp_path).write_plan(make_plan(), verb="run")
    (tmp_path / "anything").write_text("of the run")
    assert make_manifest(tmp_path).write_plan(make_plan(), verb="run") is True


@BOTH
def test_write_plan_of_another_job_is_refused_with_the_differences(
    tmp_path: Path, make_manifest: MakeManifest, plan_file: str
) -> None:
    make_manifest(tmp_path).write_plan(make_plan(), verb="run")
    before = (tmp_path / plan_file).read_bytes()
    other = make_plan(OTHER_FINGERPRINT, configuration={"softmin": {"temperature": 0.5}, "ignore": [255]})
    with raises(
        UsageError, r"inputs or settings \(ignore was not set, is \[255\]; softmin.temperature was 0.1, is 0.5\)\. "
    ):
        make_manifest(tmp_path, OTHER_FINGERPRINT).write_plan(other, verb="run")
    assert (tmp_path / plan_file).read_bytes() == before


def test_write_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    in_file(tmp_path).write_plan(make_plan(masksift="0.1"), verb="run")
    with raises(UsageError, r'masksift was "0.1", is "0.2"'):
        in_file(tmp_path, OTHER_FINGERPRINT).write_plan(make_plan(OTHER_FINGERPRINT, masksift="0.2"), verb="run")


def test_refusal_of_a_run_but_not_of_a_score_recommends_score(tmp_path: Path) -> None:
    in_file(tmp_path).write_plan(make_plan(), verb="run")
    with raises(UsageError, r"score its evidence again with `masksift score`\."):
        in_file(tmp_path, OTHER_FINGERPRINT).write_plan(make_plan(OTHER_FINGERPRINT), verb="run")
    with raises(UsageError, r"Pass another --out, or remove this directory\.$"):
        in_file(tmp_path, OTHER_FINGERPRINT).write_plan(make_plan(OTHER_FINGERPRINT), verb="score")


@BOTH
def test_write_plan_among_other_files_is_refused_and_changes_nothing(
    tmp_path: Path, make_manifest: MakeManifest, plan_file: str
) -> None:
    for name in ("thesis.tex", "notes", "a.txt", "b.txt"):
        (tmp_path / name).write_text("mine")
    with raises(UsageError, r"contains files that are not results of masksift \(a.txt, b.txt, notes\)"):
        make_manifest(tmp_path).write_plan(make_plan(), verb="run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "notes", "thesis.tex"]


@BOTH
@pytest.mark.parametrize("text", ["{", "[]", '{"plan": "of another tool"}', '{"attributes": {}}', ""])
def test_write_plan_over_a_foreign_plan_file_is_refused(
    tmp_path: Path, make_manifest: MakeManifest, plan_file: str, text: str
) -> None:
    file = tmp_path / plan_file
    file.parent.mkdir()
    file.write_text(text)
    with raises(UsageError, rf"contains files that are not results of masksift \({file.parent.name}\)"):
        make_manifest(tmp_path).write_plan(make_plan(), verb="run")


@BOTH
def test_write_plan_after_an_attempt_killed_while_writing_it_claims_the_directory(
    tmp_path: Path, make_manifest: MakeManifest, plan_file: str
) -> None:
    file = tmp_path / plan_file
    file.parent.mkdir()
    assert make_manifest(tmp_path).write_plan(make_plan(), verb="run") is False
    file.rename(f"{file}.0123.partial")
    (file.parent / "running.json").write_text("{}")
    assert make_manifest(tmp_path).write_plan(make_plan(), verb="run") is False


def test_write_plan_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below"):
        with raises(UsageError, rf"{place} cannot be created or written \((Not a directory|File exists)\)"):
            in_file(tmp_path / place).write_plan(make_plan(), verb="run")
    assert (tmp_path / "file").read_text() == "x"


def test_plan_in_group_attributes_is_readable_by_zarr(tmp_path: Path) -> None:
    in_group(tmp_path).write_plan(make_plan(), verb="ingest")
    assert zarr.open_group(tmp_path / "ingest", mode="r").attrs.asdict() == make_plan()


def test_job_plan_of_an_equal_identity_has_an_equal_fingerprint() -> None:
    plan = make_job_plan({"images": 3, "configuration": {"seed": 0}})
    assert plan["fingerprint"] == make_job_plan({"configuration": {"seed": 0}, "images": 3})["fingerprint"]
    assert plan["fingerprint"] != make_job_plan({"images": 4, "configuration": {"seed": 0}})["fingerprint"]


# ----------------------------------------------------------------------------------------------- task outputs


def test_task_with_a_saved_output_is_not_missing(tmp_path: Path) -> None:
    manifest = in_file(tmp_path)
    assert manifest.load("condense", 1) is None
    assert manifest.missing("condense", range(3)) == [0, 1, 2]
    manifest.save("condense", 1, {"statistics": b"1", "result": b"2"})
    assert manifest.load("condense", 1) == {"statistics": b"1", "result": b"2"}
    assert manifest.missing("condense", range(3)) == [0, 2]
    assert [manifest.is_finished("condense", number) for number in range(3)] == [False, True, False]
    assert manifest.missing("score", range(3)) == [0, 1, 2], "an output belongs to its stage"


def test_output_of_another_fingerprint_is_missing(tmp_path: Path) -> None:
    in_file(tmp_path).save("score", 0, {"result": b""})
    assert in_file(tmp_path, OTHER_FINGERPRINT).load("score", 0) is None
    assert in_file(tmp_path, OTHER_FINGERPRINT).missing("score", range(1)) == [0]


def test_output_that_is_partly_written_is_missing(tmp_path: Path) -> None:
    manifest = in_file(tmp_path)
    manifest.save("score", 0, {"result": b""})
    output = next((tmp_path / "manifest/score").iterdir())
    output.rename(output.with_name(f"{output.name}.0123.partial"))
    assert manifest.load("score", 0) is None
    assert manifest.missing("score", range(1)) == [0]


def test_saving_an_output_twice_leaves_one_object(tmp_path: Path) -> None:
    manifest = in_file(tmp_path)
    for _ in range(2):
        manifest.save("score", 0, {"result": b"1"})
    assert [path.name for path in (tmp_path / "manifest/score").iterdir()] == [f"{'a' * 12}-00000000.zip"]
