"""The configuration: a file and flags say the same; what is misspelt or of another type is refused, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.cli.main import main
from masksift.config.load import build_run_config, read_toml
from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.core.units import parse_bytes
from masksift.scoring.methods import METHODS
from support.errors import raises

NEEDED = {"sources": ["s"], "out": "o"}

EVERY_KEY: dict[str, tuple[str, str, Any]] = {
    # key: as a flag, as TOML, what it becomes
    "sources": ("a.zarr", '["a.zarr"]', ("a.zarr",)),
    "out": ("2026", '"2026"', "2026"),
    "base": ("yesterday", '"yesterday"', "yesterday"),
    "thresholds_from": ("yesterday", '"yesterday"', "yesterday"),
    "labels_from": ("known/labels", '"known/labels"', "known/labels"),
    "methods": ("softmin, clc", '["softmin", "clc"]', ("softmin", "clc")),
    "rank_by": ("clc", '"clc"', "clc"),
    "classes": ("road,sky", '["road", "sky"]', ("road", "sky")),
    "ignore": ("-1,255", "[-1, 255]", (-1, 255)),
    "remap": ("7:0,8:1", '{ "7" = 0, 8 = 1 }', {7: 0, 8: 1}),
    "kind": ("logits", '"logits"', "logits"),
    "scale": ("0.00392", "0.00392", 0.00392),
    "sum_tolerance": ("1e-2", "1e-2", 0.01),
    "max_quarantined": ("12", "12", 12),
    "table": ("iceberg", '"iceberg"', "iceberg"),
    "arrays.predictions": ("preds", '"preds"', "preds"),
    "arrays.labels": ("masks", '"masks"', "masks"),
    "arrays.image_id": ("name", '"name"', "name"),
    "arrays.height": ("rows", '"rows"', "rows"),
    "arrays.width": ("columns", '"columns"', "columns"),
    "arrays.predictions_axes": ("image,y,x,class", '["image", "y", "x", "class"]', ("image", "y", "x", "class")),
    "arrays.labels_axes": ("y,x,image", '["y", "x", "image"]', ("y", "x", "image")),
    "arrays.empty_label_chunks": ("fill", '"fill"', "fill"),
    "arrays.images": ("photos", '"photos"', "photos"),
    "softmin.temperature": ("0.05", "0.05", 0.05),
    "tccp.tau": ("0.5", "0.5", 0.5),
    "tccp.lattice": ("2", "2", 2),
    "clc.rule": ("confident", '"confident"', "confident"),
    "coco.sources": ("labels", '"labels"', "labels"),
    "coco.aggregate": ("min", '"min"', "min"),
    "coco.min_area": ("0", "0", 0.0),
    "regions.min_area": ("1", "1", 1),
    "regions.top": ("5", "5", 5),
    "report.top": ("50", "50", 50),
    "evidence.keep": ("false", "false", False),
    "evidence.dtype": ("float32", '"float32"', "float32"),
    "executor.kind": ("serial", '"serial"', "serial"),
    "executor.workers": ("3", "3", 3),
    "executor.memory": ("4 GiB", '"4 GiB"', "4 GiB"),
    "executor.address": ("tls://h:8786", '"tls://h:8786"', "tls://h:8786"),
    "executor.manifest": ("cluster.yaml", '"cluster.yaml"', "cluster.yaml"),
    "executor.options": ('{ cores = 2, queue = "cpu" }', '{ cores = 2, queue = "cpu" }', {"cores": 2, "queue": "cpu"}),
    "executor.timeout": ("5", "5", 5.0),
    "storage.endpoint_url": ("http://h:9000", '"http://h:9000"', "http://h:9000"),
    "storage.region": ("eu-central-1", '"eu-central-1"', "eu-central-1"),
    "storage.profile": ("lake", '"lake"', "lake"),
    "storage.anonymous": ("true", "true", True),
    "storage.path_style": ("true", "true", True),
    "storage.price_reads": ("0.0004", "0.0004", 0.0004),
    "storage.price_writes": ("0.005", "0.005", 0.005),
    "storage.client": ("s3fs", '"s3fs"', "s3fs"),
    "iceberg.catalog": ("http://h:8181", '"http://h:8181"', "http://h:8181"),
    "iceberg.warehouse": ("s3://lake/tables", '"s3://lake/tables"', "s3://lake/tables"),
    "iceberg.namespace": ("quality", '"quality"', "quality"),
}
WITH = {
    "executor.address": {"executor.kind": "dask"},
    "executor.manifest": {"executor.kind": "kubernetes"},
    "executor.options": {"executor.kind": "dask_jobqueue.SLURMCluster", "executor.workers": "2"},
}


def value_of(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def toml(folder: Path, *lines: str) -> dict[str, Any]:
    """A file that says that, besides what every run needs, as `read_toml` reads it."""
    file = folder / "run.toml"
    file.write_text("\n".join(lines))
    tree = read_toml(str(file))
    return {**NEEDED, **tree}


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The configuration that those words make, as `run --print-config` shows it."""
    assert main(["run", *words, "--print-config"]) == 0
    tree: dict[str, Any] = json.loads(capsys.readouterr().out)
    return tree


# ------------------------------------------------------------------------------------- a file and flags, the same


def test_the_list_of_keys_here_is_complete() -> None:
    assert sorted(EVERY_KEY) == sorted(dotted_keys(RunConfig))


@pytest.mark.parametrize("key", EVERY_KEY)
def test_a_key_says_the_same_in_a_file_and_as_a_flag(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, line, expected = EVERY_KEY[key]
    *section, name = key.split(".")
    others = dict(WITH.get(key, {}))
    of_file = build_run_config(toml(tmp_path, *(f"[{part}]" for part in section), f"{name} = {line}"), others)
    needed = {"sources": "s", "out": "o", **others, key: flag}
    words = [word for other, value in needed.items() for word in (f"--{other}", value)]
    of_flags = typed(capsys, *words)
    assert value_of(of_file, key) == expected
    assert type(value_of(of_file, key)) is type(expected)
    assert of_flags == json.loads(json.dumps(of_file.model_dump(mode="json")))
    hyphens = [word.replace("_", "-") if word.startswith("--") else word for word in words]
    assert typed(capsys, *hyphens) == of_flags


def test_a_flag_goes_before_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('sources = ["s"]\nout = "o"\n[softmin]\ntemperature = 1\n[tccp]\nlattice = 3\n')
    told = typed(capsys, str(tmp_path / "a.toml"), "--softmin.temperature", "2", "--out", "p")
    assert (told["softmin"], told["tccp"]["lattice"], told["out"]) == ({"temperature": 2.0}, 3, "p")


def test_print_config_shows_every_key_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "nowhere", "--out", str(tmp_path / "out"))
    flat = {f"{a}.{b}": c for a, part in told.items() if isinstance(part, dict) for b, c in part.items()}
    assert set(dotted_keys(RunConfig)) == {name for name, part in told.items() if not isinstance(part, dict)} | set(
        flat
    )
    assert told["methods"] == list(METHODS)
    assert flat["softmin.temperature"] == 0.1
    assert not (tmp_path / "out").exists()


def test_what_print_config_shows_is_the_same_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "s", "--out", "o", "--ignore", "255", "--executor.memory", "4 GiB")
    assert build_run_config(told, {}).model_dump(mode="json") == told


def test_several_predictions_are_an_ensemble_and_one_in_a_list_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = build_run_config(toml(tmp_path, "[arrays]", 'predictions = ["p", "q"]'), {})
    assert wanted.arrays.members == wanted.overrides().names == ("p", "q")
    assert wanted.methods == tuple(METHODS)
    told = typed(capsys, "--source", "s", "--out", "o", "--arrays.predictions", "p, q")
    assert told == wanted.model_dump(mode="json") | {"sources": ["s"]}
    assert build_run_config(told, {}) == wanted
    alone = build_run_config(toml(tmp_path, "[arrays]", 'predictions = ["p"]'), {})
    assert (alone.arrays.predictions, alone.arrays.members, alone.overrides().names) == ("p", (), ("p",))
    assert alone.methods == tuple(METHODS)


@pytest.mark.parametrize("names", ["p,q,p", []])
def test_members_are_two_or_more_each_once(names: Any) -> None:
    with raises(UsageError, r"arrays.predictions is .*\. An ensemble has two or more different arrays"):
        build_run_config(NEEDED, {"arrays.predictions": names})


def test_one_number_may_stand_for_a_list_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_run_config(toml(tmp_path, "ignore = 255"), {}).ignore == (255,)
    for flag in (["--ignore", "255"], ["--ignore", "[255]"], ["--ignore=255"]):
        assert typed(capsys, "--source", "s", "--out", "o", *flag)["ignore"] == [255]
    assert typed(capsys, "--source", "s", "--out", "o", "--ignore", "-1")["ignore"] == [-1]


def test_a_list_in_brackets_is_taken_as_toml(capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "s", "--out", "o", "--classes", '["a, b", "c"]')
    assert told["classes"] == ["a, b", "c"]


def test_a_text_that_looks_like_a_number_stays_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "7", "--out", "1e5", "--arrays.labels", "true", "--classes", "1,2")
    assert (told["sources"], told["out"], told["arrays"]["labels"], told["classes"]) == (
        ["7"],
        "1e5",
        "true",
        ["1", "2"],
    )


def test_where_the_blocks_are_run_and_where_results_go_is_no_part_of_what_the_results_are() -> None:
    plain = build_run_config(NEEDED, {})
    elsewhere = {"table": "iceberg", "iceberg.catalog": "http://h:8181", "iceberg.namespace": "n"}
    other = build_run_config(
        {"sources": ["t"], "out": "p"}, {"executor.kind": "serial", "max_quarantined": "5", **elsewhere}
    )
    assert plain.identity() == other.identity()
    assert plain.identity() != build_run_config(NEEDED, {"softmin.temperature": "0.2"}).identity()


def test_a_password_of_a_catalog_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "s", "--out", "o", "--iceberg.catalog", "postgresql://user:secret@h/db")
    assert told["iceberg"]["catalog"] == "postgresql://***@h/db"
    assert "secret" not in repr(build_run_config(NEEDED, {"iceberg.catalog": "postgresql://user:secret@h/db"}))


# ---------------------------------------------------------------------------------------------------- misspelt


@pytest.mark.parametrize(
    ("tree", "said", "meant"),
    [
        ({"method": ["clc"]}, "method", "methods"),
        ({"rankby": "clc"}, "rankby", "rank_by"),
        ({"temperature": 1}, "temperature", "softmin.temperature"),
        ({"softmn": {"temperature": 1}}, "softmn", "softmin"),
        ({"exector": {"kind": "serial"}}, "exector", "executor"),
        ({"softmin": {"temprature": 1}}, "softmin.temprature", "softmin.temperature"),
        ({"tccp": {"latice": 1}}, "tccp.latice", "tccp.lattice"),
        ({"arrays": {"lables": "x"}}, "arrays.lables", "arrays.labels"),
        ({"executor": {"adress": "x"}}, "executor.adress", "executor.address"),
        ({"coco": {"temperature": 1}}, "coco.temperature", "softmin.temperature"),
    ],
)
def test_a_misspelt_key_is_refused_naming_the_nearest_right_one(tree: dict[str, Any], said: str, meant: str) -> None:
    with raises(UsageError, rf"there is no key '{said}'; .* Did you mean '{meant}'\?$"):
        build_run_config({**NEEDED, **tree}, {})


@given(st.sampled_from(sorted(dotted_keys(RunConfig))), st.data())
def test_a_key_with_one_letter_too_many_is_still_understood(key: str, place: st.DataObject) -> None:
    at = place.draw(st.integers(0, len(key)))
    wrong = key[:at] + "q" + key[at:]
    assert closest_match(wrong, dotted_keys(RunConfig)) == key


# ------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("softmin.temperature", 0, "is 0; it should be a number greater than 0"),
        ("softmin.temperature", float("nan"), "is nan; it should be a number greater than 0"),
        ("softmin.temperature", "warm", "is 'warm'; it should be a number"),
        ("tccp.tau", 2, "is 2; it should be 'balanced' or 'confident', or a number less than or equal to 1"),
        ("tccp.tau", "balancd", "is 'balancd'; it should be 'balanced' or 'confident', or a number"),
        ("tccp.lattice", 1.5, "is 1.5; it should be a whole number"),
        ("tccp.lattice", "0", "is '0'; it should be a number greater than or equal to 1"),
        ("clc.rule", "rnk", "is 'rnk'; it should be 'rank' or 'confident'"),
        ("coco.min_area", 1.01, "is 1.01; it should be a number less than or equal to 1"),
        ("kind", "probs", "is 'probs'; it should be 'probabilities' or 'logits'"),
        ("evidence.dtype", "float16", "is 'float16'; it should be 'auto' or 'float32'"),
        ("executor.kind", "dusk", "is 'dusk'; it should be 'serial', 'local', 'dask', 'kubernetes' or the path"),
        ("executor.workers", 0, "is 0; it should be a number greater than or equal to 1"),
        ("scale", float("inf"), "is inf; it should be a"),
        ("ignore", True, "is true; it should be a list"),
        ("ignore", "x", "is 'x'; it should be a whole number"),
        ("ignore", [1, 2.5], "is 2.5; it should be a whole number"),
        ("sources", 3, "is 3; it should be text"),
        ("sources", [""], "is ''; it should be text that is not empty"),
        ("out", "", "is ''; it should be text that is not empty"),
        ("out", 3, "is 3; it should be text"),
        ("out", {"url": "x"}, "is a table; it should be text"),
        ("classes", [1, 2], "is 1; it should be text"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused_with_what_it_should_be(
    key: str, value: Any, said: str
) -> None:
    with raises(UsageError, rf"^{key} {said}"):
        build_run_config(NEEDED, {key: value})


def test_a_temperature_may_be_infinite_also_in_json() -> None:
    config = build_run_config(NEEDED, {"softmin.temperature": "inf"})
    assert config.softmin.temperature == float("inf")
    told = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    assert build_run_config(told, {}) == config


def test_a_section_is_a_table(tmp_path: Path) -> None:
    for flags in ({}, {"softmin.temperature": "2"}):
        with raises(UsageError, r"softmin is 3; it should be a table of keys\. Give softmin.temperature\."):
            build_run_config(toml(tmp_path, "softmin = 3"), flags)


@pytest.mark.parametrize("key", ["sources", "out"])
def test_what_every_run_needs_is_asked_for_by_its_flag(key: str) -> None:
    flag = {"sources": "--source URL", "out": "--out URL"}[key]
    with raises(UsageError, rf"'{key}' is not given; .* Give {flag}, or the key in a TOML file"):
        build_run_config({name: value for name, value in NEEDED.items() if name != key}, {})


# ------------------------------------------------------------------------------------------- what goes together


def test_a_run_reads_one_source_or_more() -> None:
    assert build_run_config({"sources": ["a", "b"], "out": "o"}, {}).sources == ("a", "b")
    with raises(UsageError, "no source is given; there is nothing to read"):
        build_run_config({"sources": [], "out": "o"}, {})


def test_methods_are_those_there_are() -> None:
    with raises(UsageError, r"no method 'sofmin', only ccp, .*Did you mean 'softmin'\?"):
        build_run_config(NEEDED, {"methods": "clc,sofmin"})
    with raises(UsageError, r"no method 'sofmin'.*Did you mean 'softmin'\?"):
        build_run_config(NEEDED, {"rank_by": "sofmin"})


def test_images_are_ranked_by_a_score_that_is_computed() -> None:
    with raises(
        UsageError, r"rank_by is 'softmin', and the methods are clc, iou; .* Give --rank_by clc, or add softmin"
    ):
        build_run_config(NEEDED, {"methods": "clc,iou"})
    with raises(UsageError, r"the methods are none; .* Give --methods softmin\."):
        build_run_config(NEEDED, {"methods": ""})


def test_a_kind_of_executor_says_what_it_needs() -> None:
    with raises(UsageError, r"executor.kind is 'dask' and executor.address is not given; .*--executor.address tls://"):
        build_run_config(NEEDED, {"executor.kind": "dask"})
    with raises(UsageError, r"executor.kind is 'kubernetes' and executor.manifest is not given; .*kubernetes:cluster"):
        build_run_config(NEEDED, {"executor.kind": "kubernetes"})
    with raises(UsageError, r"executor.kind is 'a.Cluster' and executor.workers is not given; .*--executor.workers N"):
        build_run_config(NEEDED, {"executor.kind": "a.Cluster"})


def test_a_key_that_a_kind_of_executor_does_not_have_is_refused() -> None:
    with raises(UsageError, r"executor.address is 'tls://h' and executor.kind is 'local'; .*--executor.kind dask"):
        build_run_config(NEEDED, {"executor.address": "tls://h"})
    with raises(UsageError, r"executor.manifest is 'c.yaml' and executor.kind is 'serial'; .*--executor.kind kubern"):
        build_run_config(NEEDED, {"executor.kind": "serial", "executor.manifest": "c.yaml"})
    with raises(UsageError, r"executor.options is {'a': 1} and executor.kind is 'local'; .*or no executor.options"):
        build_run_config(NEEDED, {"executor.options": {"a": 1}})


# ----------------------------------------------------------------------------------- where to run, in one form


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("serial", {"kind": "serial"}),
        ("local", {"kind": "local"}),
        ("dask:tls://h:8786", {"kind": "dask", "address": "tls://h:8786"}),
        ("kubernetes:deploy/c.yaml", {"kind": "kubernetes", "manifest": "deploy/c.yaml"}),
        ("dask_jobqueue.SLURMCluster", {"kind": "dask_jobqueue.SLURMCluster"}),
    ],
)
def test_where_to_run_has_one_form(words: str, keys: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    told = typed(capsys, "--source", "s", "--out", "o", "--executor", words, "--executor.workers", "2")
    assert told["executor"] == {**build_run_config(NEEDED, {}).executor.model_dump(), "workers": 2, **keys}


@pytest.mark.parametrize("words", ["local:4", "serial:x", "dask:", "kubernetes:", "a.Cluster:x", "dusk:tls://h"])
def test_a_form_that_is_none_is_refused(words: str) -> None:
    with raises(UsageError, rf"--executor is '{words}'; where to run is not known\. Give serial, local, dask:tls://"):
        build_run_config(NEEDED, {"executor": words})


def test_the_form_may_leave_to_the_keys_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--source", "s", "--out", "o", "--executor", "dask", "--address", "tls://h:8786")
    assert typed(capsys, *words)["executor"]["address"] == "tls://h:8786"


def test_the_form_and_a_key_that_say_different_things_are_refused() -> None:
    with raises(UsageError, r"--executor says that executor.kind is 'serial', and --executor.kind that it is 'local'"):
        build_run_config(NEEDED, {"executor": "serial", "executor.kind": "local"})
    with raises(
        UsageError, r"executor.address is 'tls://g', and --executor.address that it is 'tls://h'; .*one of them"
    ):
        build_run_config(NEEDED, {"executor": "dask:tls://g", "executor.address": "tls://h"})
    same = {"executor": "dask:tls://a", "executor.kind": "dask", "executor.address": "tls://a"}
    assert build_run_config(NEEDED, same).executor.address == "tls://a"


def test_the_form_goes_before_a_file_whose_table_is_of_another_place() -> None:
    tree = {**NEEDED, "executor": {"kind": "dask_jobqueue.SLURMCluster", "workers": 64, "options": {"cores": 1}}}
    assert build_run_config(tree, {"executor": "local"}).executor == build_run_config(NEEDED, {}).executor
    assert build_run_config(tree, {"executor": "dask_jobqueue.SLURMCluster"}) == build_run_config(tree, {})
    there = {**NEEDED, "executor": {"kind": "dask", "address": "tls://a", "timeout": 5}}
    moved = build_run_config(there, {"executor": "dask:tls://b"}).executor
    assert (moved.address, moved.timeout) == ("tls://b", 5.0)


# ------------------------------------------------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("4 GiB", 4 << 30),
        ("4GiB", 4 << 30),
        ("4gib", 4 << 30),
        (" 512 MiB ", 512 << 20),
        ("4 GB", 4 * 10**9),
        ("4G", 4 * 10**9),
        ("1.5 KiB", 1536),
        ("2 TiB", 2 << 40),
        ("100 B", 100),
        ("100", 100),
        (100, 100),
    ],
)
def test_memory_in_words(words: str | int, size: int) -> None:
    assert parse_bytes(words) == size
    assert build_run_config(NEEDED, {"executor.memory": words}).executor.memory_bytes == size


@pytest.mark.parametrize("words", ["four", "4 XiB", "-4 GiB", "4 GiB a worker", "", ".", "1.2.3 GB", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="is not a memory size"):
        parse_bytes(words)
    with raises(UsageError, r"executor.memory is '.*', which is no amount of memory; .* Give one such as '4 GiB'"):
        build_run_config(NEEDED, {"executor.memory": words})


@pytest.mark.parametrize(
    ("value", "images", "limit"),
    [(0, 1000, 0), ("3", 10, 3), ("0.1%", 10_000, 10), ("50 %", 10, 5), ("100%", 7, 7), (".5%", 200, 1)],
)
def test_how_many_may_be_quarantined(value: str | int, images: int, limit: float) -> None:
    assert build_run_config(NEEDED, {"max_quarantined": value}).quarantine_limit(images) == pytest.approx(limit)


@pytest.mark.parametrize("value", ["-1", "1.5", 0.5, "few", "", "1%%", True, "%"])
def test_what_is_no_number_of_images_and_no_share_is_refused(value: Any) -> None:
    with raises(UsageError, r"max_quarantined must be a number of images or a percentage of them, got '.*'. .*'0.1%'"):
        build_run_config(NEEDED, {"max_quarantined": value})


# --------------------------------------------------------------------------------------------------------- files


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with raises(UsageError, r"none.toml cannot be read \(No such file or directory\); .*data are named by --source"):
        read_toml(str(tmp_path / "none.toml"))
    with raises(UsageError, r"cannot be read \(Is a directory\)"):
        read_toml(str(tmp_path))


@pytest.mark.parametrize("text", [b'sources = ["a"\n', b"a = b", b"\xff\xfe", b"x = 1\nx = 2\n"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(text)
    with raises(UsageError, r"a\.toml is no TOML \(.+\); there is no run\. Mend that line\."):
        read_toml(str(tmp_path / "a.toml"))


def test_a_file_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.toml").write_bytes(mark + 'out = "Straße"'.encode())
        assert read_toml(str(tmp_path / "a.toml")) == {"out": "Straße"}
