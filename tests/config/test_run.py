"""Configuration of a run: files, flags and their errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.cli.main import main
from masksift.config.load import build_run_config, read_toml
from masksift.config.run import FILE_KEYS, RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.core.units import parse_bytes
from masksift.scoring.methods import score_names
from support.errors import raises

REQUIRED = {"sources": ["s"], "out": "o"}

EVERY_KEY: dict[str, tuple[str, str, Any]] = {
    # key: flag value, TOML value, parsed value
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
    "resize": ("predictions", '"predictions"', "predictions"),
    "scale": ("0.00392", "0.00392", 0.00392),
    "sum_tolerance": ("1e-2", "1e-2", 0.01),
    "label_offset": ("1", "1", 1),
    "max_quarantined": ("12", "12", 12),
    "quarantine": ("continue", '"continue"', "continue"),
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
    "regions.rank_by": ("evidence", '"evidence"', "evidence"),
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
    "executor.priority": ("10", "10", 10),
    "executor.resources": ("{ GPU = 1 }", "{ GPU = 1 }", {"GPU": 1.0}),
    "executor.performance_report": ("report.html", '"report.html"', "report.html"),
    "executor.timeout": ("5", "5", 5.0),
    "storage.endpoint_url": ("http://h:9000", '"http://h:9000"', "http://h:9000"),
    "storage.region": ("eu-central-1", '"eu-central-1"', "eu-central-1"),
    "storage.profile": ("lake", '"lake"', "lake"),
    "storage.account": ("street", '"street"', "street"),
    "storage.anonymous": ("true", "true", True),
    "storage.path_style": ("true", "true", True),
    "storage.price_reads": ("0.0004", "0.0004", 0.0004),
    "storage.price_writes": ("0.005", "0.005", 0.005),
    "storage.client": ("s3fs", '"s3fs"', "s3fs"),
    "iceberg.catalog": ("http://h:8181", '"http://h:8181"', "http://h:8181"),
    "iceberg.warehouse": ("s3://lake/tables", '"s3://lake/tables"', "s3://lake/tables"),
    "iceberg.namespace": ("quality", '"quality"', "quality"),
}
DASK = {"executor.kind": "dask", "executor.address": "tls://h"}
PREREQUISITES = {
    "executor.address": {"executor.kind": "dask"},
    "executor.priority": DASK,
    "executor.resources": DASK,
    "executor.manifest": {"executor.kind": "kubernetes"},
    "executor.options": {"executor.kind": "dask_jobqueue.SLURMCluster", "executor.workers": "2"},
}


def get_value(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def tree_from_toml(folder: Path, *lines: str) -> dict[str, Any]:
    """Write a TOML file and return its keys with the required ones."""
    file = folder / "run.toml"
    file.write_text("\n".join(lines))
    tree = read_toml(str(file))
    return {**REQUIRED, **tree}


def config_from_args(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """Return the configuration that `run --print-config` prints."""
    assert main(["run", *args, "--print-config"]) == 0
    tree: dict[str, Any] = json.loads(capsys.readouterr().out)
    return tree


def test_list_of_keys_is_complete() -> None:
    become_a_source = ["labels", "predictions", "images", *FILE_KEYS]
    assert sorted([*EVERY_KEY, *become_a_source]) == sorted(dotted_keys(RunConfig))


def test_two_arrays_become_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('out = "o"\nlabels = "/l"\npredictions = ["/p", "s3://b/q"]\nimages = "/i"')
    flags = ["--out", "o", "--labels", "/l", "--predictions", "/p,s3://b/q", "--images", "/i"]
    printed = []
    for args in ([str(tmp_path / "a.toml")], flags):
        assert main(["run", *args, "--print-config"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert printed[0]["sources"] == ["/l"]
    arrays = printed[0]["arrays"]
    assert (arrays["labels"], arrays["predictions"], arrays["images"]) == ("/l", ["/p", "s3://b/q"], "/i")


@pytest.mark.parametrize("key", EVERY_KEY)
def test_key_in_a_file_equals_the_flag_in_both_spellings(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, value, expected = EVERY_KEY[key]
    *section, name = key.split(".")
    others = dict(PREREQUISITES.get(key, {}))
    tree = tree_from_toml(tmp_path, *(f"[{part}]" for part in section), f"{name} = {value}")
    from_file = build_run_config(tree, others)
    flags = {"sources": "s", "out": "o", **others, key: flag}
    args = [arg for option, text in flags.items() for arg in (f"--{option}", text)]
    from_flags = config_from_args(capsys, *args)
    assert get_value(from_file, key) == expected
    assert type(get_value(from_file, key)) is type(expected)
    assert from_flags == json.loads(json.dumps(from_file.model_dump(mode="json")))
    dashed = [arg.replace("_", "-") if arg.startswith("--") else arg for arg in args]
    assert config_from_args(capsys, *dashed) == from_flags


def test_flag_overrides_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('sources = ["s"]\nout = "o"\n[softmin]\ntemperature = 1\n[tccp]\nlattice = 3\n')
    tree = config_from_args(capsys, str(tmp_path / "a.toml"), "--softmin.temperature", "2", "--out", "p")
    assert (tree["softmin"], tree["tccp"]["lattice"], tree["out"]) == ({"temperature": 2.0}, 3, "p")


def test_print_config_prints_every_key_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "nowhere", "--out", str(tmp_path / "out"))
    flat = {f"{a}.{b}": c for a, part in tree.items() if isinstance(part, dict) for b, c in part.items()}
    assert set(dotted_keys(RunConfig)) == {name for name, part in tree.items() if not isinstance(part, dict)} | set(
        flat
    )
    assert tree["methods"] == list(score_names())
    assert flat["softmin.temperature"] == 0.1
    assert not (tmp_path / "out").exists()


def test_print_config_output_is_the_same_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "s", "--out", "o", "--ignore", "255", "--executor.memory", "4 GiB")
    assert build_run_config(tree, {}).model_dump(mode="json") == tree


def test_arrays_predictions_with_several_names_is_an_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = build_run_config(tree_from_toml(tmp_path, "[arrays]", 'predictions = ["p", "q"]'), {})
    assert expected.arrays.members == expected.overrides().prediction_names == ("p", "q")
    assert expected.methods == score_names()
    tree = config_from_args(capsys, "--source", "s", "--out", "o", "--arrays.predictions", "p, q")
    assert tree == expected.model_dump(mode="json") | {"sources": ["s"]}
    assert build_run_config(tree, {}) == expected
    alone = build_run_config(tree_from_toml(tmp_path, "[arrays]", 'predictions = ["p"]'), {})
    assert (alone.arrays.predictions, alone.arrays.members, alone.overrides().prediction_names) == ("p", (), ("p",))
    assert alone.methods == score_names()


@pytest.mark.parametrize("names", ["p,q,p", []])
def test_arrays_predictions_with_repeated_or_too_many_members_fails(names: Any) -> None:
    with raises(UsageError, r"arrays.predictions is .*\. An ensemble has two or more different arrays"):
        build_run_config(REQUIRED, {"arrays.predictions": names})


def test_list_key_accepts_a_single_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_run_config(tree_from_toml(tmp_path, "ignore = 255"), {}).ignore == (255,)
    for flag in (["--ignore", "255"], ["--ignore", "[255]"], ["--ignore=255"]):
        assert config_from_args(capsys, "--source", "s", "--out", "o", *flag)["ignore"] == [255]
    assert config_from_args(capsys, "--source", "s", "--out", "o", "--ignore", "-1")["ignore"] == [-1]


def test_flag_in_brackets_is_parsed_as_toml(capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "s", "--out", "o", "--classes", '["a, b", "c"]')
    assert tree["classes"] == ["a, b", "c"]


def test_text_key_keeps_digits_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "7", "--out", "1e5", "--arrays.labels", "true", "--classes", "1,2")
    assert (tree["sources"], tree["out"], tree["arrays"]["labels"], tree["classes"]) == (
        ["7"],
        "1e5",
        "true",
        ["1", "2"],
    )


def test_identity_ignores_executor_and_output() -> None:
    plain = build_run_config(REQUIRED, {})
    elsewhere = {"table": "iceberg", "iceberg.catalog": "http://h:8181", "iceberg.namespace": "n"}
    other = build_run_config(
        {"sources": ["t"], "out": "p"}, {"executor.kind": "serial", "max_quarantined": "5", **elsewhere}
    )
    assert plain.identity() == other.identity()
    assert plain.identity() != build_run_config(REQUIRED, {"softmin.temperature": "0.2"}).identity()


def test_password_of_the_catalog_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "s", "--out", "o", "--iceberg.catalog", "postgresql://user:secret@h/db")
    assert tree["iceberg"]["catalog"] == "postgresql://***@h/db"
    assert "secret" not in repr(build_run_config(REQUIRED, {"iceberg.catalog": "postgresql://user:secret@h/db"}))


@pytest.mark.parametrize(
    ("tree", "unknown", "suggestion"),
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
def test_unknown_key_fails_with_the_closest_key(tree: dict[str, Any], unknown: str, suggestion: str) -> None:
    with raises(UsageError, rf"^Unknown key '{unknown}'\. Did you mean '{suggestion}'\?$"):
        build_run_config({**REQUIRED, **tree}, {})


@given(st.sampled_from(sorted(dotted_keys(RunConfig))), st.data())
def test_closest_match_of_a_key_with_one_extra_letter_is_the_key(key: str, place: st.DataObject) -> None:
    at = place.draw(st.integers(0, len(key)))
    wrong = key[:at] + "q" + key[at:]
    assert closest_match(wrong, dotted_keys(RunConfig)) == key


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("softmin.temperature", 0, "must be a number greater than 0"),
        ("softmin.temperature", float("nan"), "must be a number greater than 0"),
        ("softmin.temperature", "warm", "must be a number"),
        ("tccp.tau", 2, "must be 'balanced' or 'confident', or a number less than or equal to 1"),
        ("tccp.tau", "balancd", "must be 'balanced' or 'confident', or a number"),
        ("tccp.lattice", 1.5, "must be a whole number"),
        ("tccp.lattice", "0", "must be a number greater than or equal to 1"),
        ("clc.rule", "rnk", "must be 'rank' or 'confident'"),
        ("coco.min_area", 1.01, "must be a number less than or equal to 1"),
        ("kind", "probs", "must be 'probabilities' or 'logits'"),
        ("evidence.dtype", "float16", "must be 'auto' or 'float32'"),
        ("executor.kind", "dusk", "must be auto, serial, local, dask, kubernetes or the path"),
        ("executor.workers", 0, "must be a number greater than or equal to 1"),
        ("scale", float("inf"), "must be a"),
        ("ignore", True, "must be a list"),
        ("ignore", "x", "must be a whole number"),
        ("ignore", [1, 2.5], "must be a whole number"),
        ("sources", 3, "must be text"),
        ("sources", [""], "must be text that is not empty"),
        ("out", "", "must be text that is not empty"),
        ("out", 3, "must be text"),
        ("out", {"url": "x"}, "must be text"),
        ("classes", [1, 2], "must be text"),
    ],
)
def test_invalid_value_fails_with_the_expected_type(key: str, value: Any, expected: str) -> None:
    with raises(UsageError, rf"^{key} {expected}"):
        build_run_config(REQUIRED, {key: value})


def test_softmin_temperature_inf_survives_json() -> None:
    config = build_run_config(REQUIRED, {"softmin.temperature": "inf"})
    assert config.softmin.temperature == float("inf")
    tree = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    assert build_run_config(tree, {}) == config


def test_section_with_a_plain_value_fails(tmp_path: Path) -> None:
    for flags in ({}, {"softmin.temperature": "2"}):
        with raises(UsageError, r"softmin must be a table of keys, got 3\. Set softmin.temperature\."):
            build_run_config(tree_from_toml(tmp_path, "softmin = 3"), flags)


@pytest.mark.parametrize("key", ["sources", "out"])
def test_missing_required_key_fails_with_its_flag(key: str) -> None:
    flag = {"sources": "--source", "out": "--out"}[key]
    with raises(UsageError, rf"^{flag} is required\. Pass {flag} URL\.$"):
        build_run_config({name: value for name, value in REQUIRED.items() if name != key}, {})


def test_sources_empty_fails() -> None:
    assert build_run_config({"sources": ["a", "b"], "out": "o"}, {}).sources == ("a", "b")
    with raises(UsageError, r"No source is configured\. Pass --source URL"):
        build_run_config({"sources": [], "out": "o"}, {})


def test_unknown_method_fails_with_the_closest_method() -> None:
    with raises(UsageError, r"Unknown method 'sofmin'\. The methods are ccp, .*Did you mean 'softmin'\?"):
        build_run_config(REQUIRED, {"methods": "clc,sofmin"})
    with raises(UsageError, r"Unknown method 'sofmin'.*Did you mean 'softmin'\?"):
        build_run_config(REQUIRED, {"rank_by": "sofmin"})


def test_rank_by_not_among_the_methods_fails() -> None:
    with raises(
        UsageError,
        r"rank_by is 'softmin', which is not among the methods \(clc, iou\)\. Pass --rank-by clc, or add softmin",
    ):
        build_run_config(REQUIRED, {"methods": "clc,iou", "rank_by": "softmin"})


def test_methods_without_a_name_fail() -> None:
    with raises(UsageError, r"methods is empty\. Name at least one score, such as --methods softmin\."):
        build_run_config(REQUIRED, {"methods": ""})


@pytest.mark.parametrize(
    ("methods", "score"),
    [
        (None, "combined"),
        ("softmin,class_agreement,worst_region,combined", "combined"),
        ("clc,softmin,class_agreement", "softmin"),
        ("clc,iou", "clc"),
    ],
)
def test_rank_by_is_by_default_the_combined_score_if_it_is_computed(methods: str | None, score: str) -> None:
    flags = {} if methods is None else {"methods": methods}
    assert build_run_config(REQUIRED, flags).rank_by == score


def test_combined_score_without_its_methods_fails() -> None:
    with raises(UsageError, r"The methods contain combined, but not worst_region\. .*Add worst_region to"):
        build_run_config(REQUIRED, {"methods": "softmin,class_agreement,combined"})


def test_executor_without_a_required_key_fails() -> None:
    with raises(UsageError, r"executor.kind 'dask' requires executor.address\. Pass --executor dask:tls://"):
        build_run_config(REQUIRED, {"executor.kind": "dask"})
    with raises(UsageError, r"executor.kind 'kubernetes' requires executor.manifest\. .*kubernetes:cluster"):
        build_run_config(REQUIRED, {"executor.kind": "kubernetes"})
    with raises(UsageError, r"executor.kind 'a.Cluster' requires executor.workers\. .*--executor.workers N"):
        build_run_config(REQUIRED, {"executor.kind": "a.Cluster"})


def test_executor_with_an_unused_key_fails() -> None:
    with raises(UsageError, r"executor.address is 'tls://h', but executor.kind 'auto' does .*--executor.kind dask"):
        build_run_config(REQUIRED, {"executor.address": "tls://h"})
    with raises(UsageError, r"executor.manifest is 'c.yaml', but executor.kind 'serial' .*--executor.kind kubern"):
        build_run_config(REQUIRED, {"executor.kind": "serial", "executor.manifest": "c.yaml"})
    with raises(UsageError, r"executor.resources is {'GPU': 1.0}, but executor.kind 'local' .*--executor.kind dask"):
        build_run_config(REQUIRED, {"executor.kind": "local", "executor.resources": {"GPU": 1}})
    with raises(UsageError, r"executor.performance_report is 'r.html', but .*'serial' .*--executor.kind local"):
        build_run_config(REQUIRED, {"executor.kind": "serial", "executor.performance_report": "r.html"})
    with raises(UsageError, r"executor.options is {'a': 1}, but executor.kind 'auto' .*omit executor.options"):
        build_run_config(REQUIRED, {"executor.options": {"a": 1}})


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("auto", {"kind": "auto"}),
        ("serial", {"kind": "serial"}),
        ("local", {"kind": "local"}),
        ("dask:tls://h:8786", {"kind": "dask", "address": "tls://h:8786"}),
        ("kubernetes:deploy/c.yaml", {"kind": "kubernetes", "manifest": "deploy/c.yaml"}),
        ("dask_jobqueue.SLURMCluster", {"kind": "dask_jobqueue.SLURMCluster"}),
    ],
)
def test_executor_flag_sets_kind_and_place(text: str, keys: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    tree = config_from_args(capsys, "--source", "s", "--out", "o", "--executor", text, "--executor.workers", "2")
    assert tree["executor"] == {**build_run_config(REQUIRED, {}).executor.model_dump(), "workers": 2, **keys}


@pytest.mark.parametrize("text", ["local:4", "serial:x", "dask:", "kubernetes:", "a.Cluster:x", "dusk:tls://h"])
def test_executor_flag_with_an_invalid_place_fails(text: str) -> None:
    with raises(UsageError, rf"--executor '{text}' is not valid\. Use auto, serial, local, dask:tls://"):
        build_run_config(REQUIRED, {"executor": text})


def test_executor_flag_without_place_keeps_the_address_flag(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--source", "s", "--out", "o", "--executor", "dask", "--address", "tls://h:8786")
    assert config_from_args(capsys, *args)["executor"]["address"] == "tls://h:8786"


def test_executor_flag_that_contradicts_a_key_fails() -> None:
    with raises(UsageError, r"--executor sets executor.kind to 'serial', but --executor.kind sets it to 'local'"):
        build_run_config(REQUIRED, {"executor": "serial", "executor.kind": "local"})
    with raises(
        UsageError, r"executor.address to 'tls://g', but --executor.address sets it to 'tls://h'\. Pass only one"
    ):
        build_run_config(REQUIRED, {"executor": "dask:tls://g", "executor.address": "tls://h"})
    same = {"executor": "dask:tls://a", "executor.kind": "dask", "executor.address": "tls://a"}
    assert build_run_config(REQUIRED, same).executor.address == "tls://a"


def test_executor_flag_drops_keys_of_another_kind_in_the_file() -> None:
    tree = {**REQUIRED, "executor": {"kind": "dask_jobqueue.SLURMCluster", "workers": 64, "options": {"cores": 1}}}
    assert build_run_config(tree, {"executor": "auto"}).executor == build_run_config(REQUIRED, {}).executor
    assert build_run_config(tree, {"executor": "dask_jobqueue.SLURMCluster"}) == build_run_config(tree, {})
    there = {**REQUIRED, "executor": {"kind": "dask", "address": "tls://a", "timeout": 5}}
    moved = build_run_config(there, {"executor": "dask:tls://b"}).executor
    assert (moved.address, moved.timeout) == ("tls://b", 5.0)


@pytest.mark.parametrize(
    ("text", "size"),
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
def test_executor_memory_is_parsed_into_bytes(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size
    assert build_run_config(REQUIRED, {"executor.memory": text}).executor.memory_bytes == size


@pytest.mark.parametrize("text", ["four", "4 XiB", "-4 GiB", "4 GiB a worker", "", ".", "1.2.3 GB", "1e9"])
def test_invalid_memory_size_fails(text: str) -> None:
    with pytest.raises(ValueError, match="is not a memory size"):
        parse_bytes(text)
    with raises(UsageError, r"executor.memory must be a memory size, got '.*'\. Pass a size such as '4 GiB'"):
        build_run_config(REQUIRED, {"executor.memory": text})


@pytest.mark.parametrize(
    ("value", "images", "limit"),
    [(0, 1000, 0), ("3", 10, 3), ("0.1%", 10_000, 10), ("50 %", 10, 5), ("100%", 7, 7), (".5%", 200, 1)],
)
def test_quarantine_limit_accepts_counts_and_percentages(value: str | int, images: int, limit: float) -> None:
    assert build_run_config(REQUIRED, {"max_quarantined": value}).quarantine_limit(images) == pytest.approx(limit)


@pytest.mark.parametrize("value", ["-1", "1.5", 0.5, "few", "", "1%%", True, "%"])
def test_max_quarantined_that_is_neither_count_nor_percentage_fails(value: Any) -> None:
    with raises(UsageError, r"max_quarantined must be a number of images or a percentage of them, got '.*'. .*'0.1%'"):
        build_run_config(REQUIRED, {"max_quarantined": value})


def test_read_toml_of_an_unreadable_file_fails(tmp_path: Path) -> None:
    with raises(UsageError, r"Cannot read .*none.toml \(No such file or directory\)\. .*data sets go to --source"):
        read_toml(str(tmp_path / "none.toml"))
    with raises(UsageError, r"Cannot read .* \(Is a directory\)"):
        read_toml(str(tmp_path))


@pytest.mark.parametrize(
    "text", [b'sources = ["a"\n', b"a = b", b"\xff\xfe", b"x = 1\nx = 2\n", b"a = " + b"[" * 10**5]
)
def test_read_toml_of_invalid_toml_fails(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(text)
    with raises(UsageError, r"a\.toml is not valid TOML \(.+\)\. Correct that line\."):
        read_toml(str(tmp_path / "a.toml"))


def test_read_toml_accepts_utf8_with_and_without_bom(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.toml").write_bytes(mark + 'out = "Straße"'.encode())
        assert read_toml(str(tmp_path / "a.toml")) == {"out": "Straße"}


@pytest.mark.parametrize(
    ("options", "seconds", "kind"),
    [
        ({}, 19.9, "serial"),
        ({}, 20.0, "local"),
        ({}, math.inf, "local"),
        ({"memory": "1 GiB"}, 1.0, "serial"),
        ({"workers": 2}, 1.0, "local"),
        ({"kind": "local"}, 1.0, "local"),
        ({"kind": "serial"}, math.inf, "serial"),
    ],
)
def test_executor_auto_is_local_for_20_seconds_of_work_or_with_workers(
    options: dict[str, Any], seconds: float, kind: str
) -> None:
    messages: list[str] = []
    section = build_run_config({**REQUIRED, "executor": options}, {}).executor
    chosen = section.choose(seconds, lambda message, **_: messages.append(message))
    assert chosen == section.model_copy(update={"kind": kind})
    assert len(messages) == (section.kind == "auto" and section.workers is None)
