"""The manifest: a folder belongs to one run; a block whose product is there is done; the same parts, the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import UsageError
from masksift.storage.manifest import Manifest, pack, unpack
from masksift.storage.objects import ObjectDirectory
from support.sources import refuses

PARTS = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=200), max_size=4)


def plan(fingerprint: str = "a" * 64, **identity: Any) -> dict[str, Any]:
    told = {"configuration": {"softmin": {"temperature": 0.1}, "ignore": None}, "sources": [{"url": "s"}]} | identity
    return {"fingerprint": fingerprint, "identity": told, "blocks": 3}


def manifest(path: Path, fingerprint: str = "a" * 64) -> Manifest:
    return Manifest(ObjectDirectory(str(path)), fingerprint)


# ------------------------------------------------------------------------------------------------- pack, unpack


@given(PARTS)
def test_parts_come_out_as_they_went_in(parts: dict[str, bytes]) -> None:
    assert unpack(pack(parts)) == parts


@given(PARTS)
def test_the_same_parts_give_the_same_bytes_in_any_order_at_any_time(parts: dict[str, bytes]) -> None:
    assert pack(dict(reversed(parts.items()))) == pack(parts)
    with zipfile.ZipFile(io.BytesIO(pack(parts))) as archive:
        assert {entry.date_time for entry in archive.infolist()} <= {(1980, 1, 1, 0, 0, 0)}


def test_bytes_that_are_no_archive_are_refused() -> None:
    with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
        unpack(b"nothing")


# --------------------------------------------------------------------------------------------------- one folder


def test_an_empty_or_new_folder_becomes_the_runs_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        assert manifest(tmp_path / name).write_plan(plan(), verb="run") is False
        assert json.loads((tmp_path / name / "manifest/plan.json").read_text()) == plan()


def test_the_same_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    manifest(tmp_path).write_plan(plan(), verb="run")
    (tmp_path / "anything").write_text("of the run")
    assert manifest(tmp_path).write_plan(plan(), verb="run") is True


def test_another_run_is_refused_and_told_what_differs(tmp_path: Path) -> None:
    manifest(tmp_path).write_plan(plan(), verb="run")
    ours = plan("b" * 64, configuration={"softmin": {"temperature": 0.5}, "ignore": [255]})
    with refuses(
        UsageError, r"holds another run \(ignore was not set, is \[255\]; softmin.temperature was 0.1, is 0.5\)"
    ):
        manifest(tmp_path, "b" * 64).write_plan(ours, verb="run")
    assert json.loads((tmp_path / "manifest/plan.json").read_text()) == plan()


def test_a_run_of_another_version_is_another_run(tmp_path: Path) -> None:
    manifest(tmp_path).write_plan(plan(masksift="0.1"), verb="run")
    with refuses(UsageError, r'masksift was "0.1", is "0.2"'):
        manifest(tmp_path, "b" * 64).write_plan(plan("b" * 64, masksift="0.2"), verb="run")


def test_a_run_is_sent_to_score_where_that_may_be_meant(tmp_path: Path) -> None:
    manifest(tmp_path).write_plan(plan(), verb="run")
    with refuses(UsageError, r"score its evidence again with `masksift score`\."):
        manifest(tmp_path, "b" * 64).write_plan(plan("b" * 64), verb="run")
    with refuses(UsageError, r"Give another --out, or remove that folder\."):
        manifest(tmp_path, "b" * 64).write_plan(plan("b" * 64), verb="score")


def test_a_folder_with_strangers_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.tex", "notes", "a.txt", "b.txt"):
        (tmp_path / name).write_text("mine")
    with refuses(UsageError, r"files that are no run of masksift \(a.txt, b.txt, notes\)"):
        manifest(tmp_path).write_plan(plan(), verb="run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "notes", "thesis.tex"]


@pytest.mark.parametrize("text", ["{", "[]", '{"plan": "of another tool"}', ""])
def test_a_plan_that_is_none_of_ours_is_a_strangers_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest/plan.json").write_text(text)
    with refuses(UsageError, r"files that are no run of masksift \(manifest\)"):
        manifest(tmp_path).write_plan(plan(), verb="run")


def test_what_a_killed_attempt_left_of_its_plan_is_no_strangers_file(tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    assert manifest(tmp_path).write_plan(plan(), verb="run") is False
    (tmp_path / "manifest/plan.json").rename(tmp_path / "manifest/plan.json.0123.partial")
    assert manifest(tmp_path).write_plan(plan(), verb="run") is False


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below"):
        with refuses(UsageError, rf"{place} cannot be made a folder and written \((Not a directory|File exists)\)"):
            manifest(tmp_path / place).write_plan(plan(), verb="run")
    assert (tmp_path / "file").read_text() == "x"


# ----------------------------------------------------------------------------------------------------- products


def test_a_block_is_done_when_its_product_is_there(tmp_path: Path) -> None:
    kept = manifest(tmp_path)
    assert kept.load("condense", 1) is None
    assert kept.missing("condense", range(3)) == [0, 1, 2]
    kept.save("condense", 1, {"statistics": b"1", "result": b"2"})
    assert kept.load("condense", 1) == {"statistics": b"1", "result": b"2"}
    assert kept.missing("condense", range(3)) == [0, 2]
    assert kept.missing("score", range(3)) == [0, 1, 2], "a product belongs to its stage"


def test_the_products_of_another_run_are_not_ours(tmp_path: Path) -> None:
    manifest(tmp_path).save("score", 0, {"result": b""})
    assert manifest(tmp_path, "b" * 64).load("score", 0) is None
    assert manifest(tmp_path, "b" * 64).missing("score", range(1)) == [0]


def test_a_product_that_is_still_being_written_is_not_there(tmp_path: Path) -> None:
    kept = manifest(tmp_path)
    kept.save("score", 0, {"result": b""})
    product = next((tmp_path / "manifest/score").iterdir())
    product.rename(product.with_name(f"{product.name}.0123.partial"))
    assert kept.load("score", 0) is None
    assert kept.missing("score", range(1)) == [0]


def test_saving_twice_is_saving_once(tmp_path: Path) -> None:
    kept = manifest(tmp_path)
    for _ in range(2):
        kept.save("score", 0, {"result": b"1"})
    assert [path.name for path in (tmp_path / "manifest/score").iterdir()] == [f"{'a' * 12}-00000000.zip"]
