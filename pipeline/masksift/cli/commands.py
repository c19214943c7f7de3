"""What each verb does with its words: one configuration, one call, what to print, and the exit code.

What a verb needs is imported where it is done: `masksift --help` waits for none of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tomllib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from masksift.config.load import build_config, build_run_config, read_toml, storage_from_flags
from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.evaluation.evaluate.config import EvaluateConfig, config_from_args
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.sweep.config import SweepConfig
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.predict.config import PredictConfig
from masksift.review.check.config import CheckConfig
from masksift.review.compare.config import CompareConfig
from masksift.review.corrections.config import CorrectionsConfig, make_corrections_config
from masksift.review.export import config as exports
from masksift.review.inspect.config import ShowConfig, TopConfig
from masksift.review.report.config import ReportConfig

if TYPE_CHECKING:
    from masksift.run import RunResult
    from masksift.runtime.progress import ProgressReporter


def _flags(words: argparse.Namespace, model: type[BaseModel] = RunConfig) -> dict[str, Any]:
    """The keys that were typed, as text or, in brackets, as a list or a table of TOML: `--classes '["a, b", "c"]'`."""
    keys = dotted_keys(model)
    return {key: _value(value) for key, value in vars(words).items() if key in keys or key == "executor"}


def _value(text: Any) -> Any:
    if isinstance(text, str) and text.startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _config(words: argparse.Namespace) -> RunConfig:
    return build_run_config(read_toml(words.config) if words.config else {}, _flags(words))


def run(words: argparse.Namespace) -> int:
    config = _config(words)
    if words.print_config:
        print(json.dumps(config.model_dump(mode="json"), indent=2))
        return 0
    from masksift.run import run
    from masksift.runtime.progress import ProgressReporter

    report = ProgressReporter(words.log_format)
    return _print_result(run(config, report), config, report)


def score(words: argparse.Namespace) -> int:
    from masksift.engine.completed_run import read_run_record
    from masksift.run import rescore
    from masksift.runtime.progress import ProgressReporter

    flags = _flags(words)
    kept = read_run_record(words.complete, storage_from_flags(flags).options([words.complete]))
    if kept is None or "configuration" not in kept:
        raise UsageError(
            f"{words.complete} holds no complete run",
            "there is no evidence to score",
            "Give the URL of one, or finish that one with `masksift run`",
        )
    if "out" not in flags:
        raise UsageError("'out' is not given", "the first run's results would be overwritten", "Give --out URL")
    # where the first run's results went says nothing of these: as --out, it is said anew
    told = {key: value for key, value in kept["configuration"].items() if key not in ("table", "iceberg")}
    if {"executor", "executor.kind"} & flags.keys():  # where the first run was run says nothing of another place
        told = {**told, "executor": {}}
    config = build_run_config(told, flags)
    report = ProgressReporter(words.log_format)
    return _print_result(rescore(words.complete, config, report), config, report)


def report(words: argparse.Namespace) -> int:
    config = build_config(ReportConfig, {"run": words.complete}, _flags(words, ReportConfig))
    from masksift.review.report.command import report
    from masksift.runtime.progress import ProgressReporter

    print(report(config, ProgressReporter(words.log_format)))
    return 0


def _print_result(outcome: RunResult, config: RunConfig, report: ProgressReporter) -> int:
    from masksift.engine.summary import format_run_summary

    print(format_run_summary(outcome.record, config.out, options=config.options()))
    if outcome.exit_code == 3:
        counts, images = outcome.record["counts"], outcome.record["images"]
        report.warn(
            f"{images - counts.get(SCORED, 0):,} of {images:,} images are quarantined, max_quarantined is "
            f"{config.max_quarantined}; all others are scored. See status and reason in {config.out}/images, or allow "
            "more with --max_quarantined.",
            run_id=outcome.record["fingerprint"],
        )
    return outcome.exit_code


def evaluate(words: argparse.Namespace) -> int:
    config = config_from_args(words.complete, _flags(words, EvaluateConfig))
    from masksift.evaluation.evaluate.command import evaluate
    from masksift.runtime.progress import ProgressReporter

    outcome = evaluate(config, ProgressReporter(words.log_format))
    print(outcome.text)
    if outcome.unknown_images:
        said = UsageError(
            f"{outcome.unknown_images:,} images of the truth are not in the run ({', '.join(outcome.unknown_names)})",
            "all others are measured",
            "Give the truth of the same images, or leave it at that",
        )
        print(f"masksift: {said}", file=sys.stderr)
    return outcome.exit_code


def export(words: argparse.Namespace) -> int:
    config = exports.make_export_config(
        words.form, words.complete, _flags(words, exports.export_config_class(words.form))
    )
    from masksift.review.export.command import export
    from masksift.runtime.progress import ProgressReporter

    print(export(words.form, config, ProgressReporter(words.log_format)).text)
    return 0


def correct(words: argparse.Namespace) -> int:
    config = make_corrections_config(words.complete, _flags(words, CorrectionsConfig))
    from masksift.review.corrections.command import correct
    from masksift.runtime.progress import ProgressReporter

    print(correct(config, ProgressReporter(words.log_format)).text)
    return 0


def compare(words: argparse.Namespace) -> int:
    config = build_config(CompareConfig, {}, _flags(words, CompareConfig))
    from masksift.review.compare.command import compare
    from masksift.review.compare.summary import format_text

    found = compare(config)
    print(json.dumps(found, indent=2) if words.json else format_text(found))
    return 0


def check(words: argparse.Namespace) -> int:
    config = build_config(CheckConfig, {"run": words.complete}, _flags(words, CheckConfig))
    from masksift.review.check.command import check
    from masksift.review.check.summary import format_text

    found = check(config)
    print(json.dumps(found, indent=2) if words.json else format_text(found))
    return 0 if found["passed"] else 6


def plan(words: argparse.Namespace) -> int:
    from masksift.engine.summary import format_plan
    from masksift.run import open_and_plan

    config = _config(words)
    sources, plan = open_and_plan(config)
    if words.k8s:  # the pods are made as large as the plan needs: there is nothing to refuse
        from masksift.engine.planning.kustomize import kustomize_component

        print(kustomize_component(plan, config.executor.workers))
        return 0
    limit, prices = config.executor.memory_limit, (config.storage.price_reads, config.storage.price_writes)
    print(json.dumps(plan.as_json(), indent=2) if words.json else format_plan(plan, sources, limit, prices))
    plan.check_memory(limit)
    return 0


def ingest(words: argparse.Namespace) -> int:
    from masksift.prepare.ingest.command import ingest
    from masksift.runtime.progress import ProgressReporter

    tree = read_toml(words.config, data_flags="--labels and --predictions") if words.config else {}
    outcome = ingest(build_config(IngestConfig, tree, _flags(words, IngestConfig)), ProgressReporter(words.log_format))
    print(outcome.text)
    if outcome.unmatched:
        said = UsageError(
            f"{outcome.unmatched:,} files found no partner",
            "the source holds all others",
            "Name them like their partners and ingest into another --out, or leave it at that",
        )
        print(f"masksift: {said}", file=sys.stderr)
    return outcome.exit_code


def simulate(words: argparse.Namespace) -> int:
    from masksift.evaluation.simulate.command import simulate
    from masksift.runtime.progress import ProgressReporter

    files = [word for word in words.words if word.endswith(".toml")]
    kinds = [word for word in words.words if not word.endswith(".toml")]
    if (spare := [*files[1:], *kinds[1:]]) or (kinds and hasattr(words, "kind")):
        words.parser.fail_unknown_args(spare or kinds)
    flags = _flags(words, SimulateConfig) | ({"kind": kinds[0]} if kinds else {})
    tree = read_toml(files[0]) if files else {}
    if "kind" not in {**tree, **flags}:
        known = ", ".join(get_args(SimulateConfig.model_fields["kind"].annotation))
        raise UsageError("no kind of error is given", "there is nothing to simulate", f"Give one of {known}")
    print(simulate(build_config(SimulateConfig, tree, flags), ProgressReporter(words.log_format)).text)
    return 0


def predict(words: argparse.Namespace) -> int:
    from masksift.prepare.predict.command import predict
    from masksift.runtime.progress import ProgressReporter

    tree = read_toml(words.config) if words.config else {}
    print(
        predict(
            build_config(PredictConfig, tree, _flags(words, PredictConfig)), ProgressReporter(words.log_format)
        ).text
    )
    return 0


def sweep(words: argparse.Namespace) -> int:
    config = build_config(SweepConfig, read_toml(words.config) if words.config else {}, _flags(words, SweepConfig))
    from masksift.evaluation.sweep.command import sweep
    from masksift.runtime.progress import ProgressReporter

    print(sweep(config, ProgressReporter(words.log_format)).text)
    return 0


def show(words: argparse.Namespace) -> int:
    config = build_config(ShowConfig, {"run": words.complete, "image": words.id}, _flags(words, ShowConfig))
    from masksift.review.inspect.show import show

    print(show(config).text)
    return 0


def top(words: argparse.Namespace) -> int:
    config = build_config(TopConfig, {"run": words.complete}, _flags(words, TopConfig))
    from masksift.review.inspect.top import top

    found = top(config)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with contextlib.suppress(BrokenPipeError):  # whoever was reading has seen enough
        for line in found.lines() if words.json else [found.text(width)]:
            print(line)
    return 0


def demo(words: argparse.Namespace) -> int:
    from masksift.demo.command import show

    print(show(words.folder, workers=words.workers, log_format=words.log_format))
    return 0
