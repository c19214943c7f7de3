"""Commands: build the configuration, call the library, print the result, return the exit code.

Modules are imported inside the functions, so that `masksift --help` starts fast.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

from masksift.core.errors import UsageError
from masksift.core.status import SCORED

if TYPE_CHECKING:
    from pydantic import BaseModel

    from masksift.config.run import RunConfig
    from masksift.runner import RunResult
    from masksift.runtime.progress import ProgressReporter

Model = TypeVar("Model", bound="BaseModel")


def _flags(args: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """Collect the passed keys of a model. A value in brackets is TOML: `--classes '["a, b", "c"]'`."""
    from masksift.config.sections import dotted_keys

    keys = dotted_keys(model)
    return {
        key: value if key in keys and keys[key].annotation in (str, str | None) else _parse_brackets(value)
        for key, value in vars(args).items()
        if key in keys or key == "executor"
    }


def _parse_brackets(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("[", "{")):
        with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
            return tomllib.loads(f"value = {value}")["value"]
    return value


def _config(args: argparse.Namespace, model: type[Model], data_flags: str = "--source") -> Model:
    """Build the configuration of a command from its TOML file, if any, and its flags."""
    from masksift.config.load import build_config, read_toml

    file = getattr(args, "config", None)
    return build_config(model, read_toml(file, data_flags) if file else {}, _flags(args, model))


def _reporter(args: argparse.Namespace) -> ProgressReporter:
    from masksift.runtime.progress import ProgressReporter

    return ProgressReporter(args.log_format)


def run(args: argparse.Namespace) -> int:
    """Run `masksift run`."""
    from masksift.config.run import RunConfig

    config = _config(args, RunConfig)
    if args.print_config:
        print(json.dumps(config.model_dump(mode="json"), indent=2))
        return 0
    from masksift.runner import run

    reporter = _reporter(args)
    return _print_result(run(config, reporter), config, reporter)


def score(args: argparse.Namespace) -> int:
    """Run `masksift score`."""
    from masksift.config.load import build_run_config, storage_from_flags
    from masksift.config.run import RunConfig
    from masksift.engine.completed_run import read_run_record
    from masksift.runner import rescore

    flags = _flags(args, RunConfig)
    record = read_run_record(args.completed_run, storage_from_flags(flags).options([args.completed_run]))
    if record is None or "configuration" not in record:
        raise UsageError(
            f"{args.completed_run} contains no completed run",
            "Pass the URL of a completed run, or complete this one with `masksift run`",
        )
    if "out" not in flags:
        raise UsageError("--out is required: scoring must not overwrite the original run", "Pass --out URL")
    # output tables and, if another one is passed, the executor belong to the original run alone
    inherited = {key: value for key, value in record["configuration"].items() if key not in ("table", "iceberg")}
    if {"executor", "executor.kind"} & flags.keys():
        inherited["executor"] = {}
    # other methods may lack the score that the original run is ranked by
    if "methods" in flags and inherited["rank_by"] not in [name.strip() for name in flags["methods"].split(",")]:
        del inherited["rank_by"]
    config = build_run_config(inherited, flags)
    reporter = _reporter(args)
    return _print_result(rescore(args.completed_run, config, reporter), config, reporter)


def _print_result(result: RunResult, config: RunConfig, reporter: ProgressReporter) -> int:
    from masksift.engine.quarantine import describe_cause
    from masksift.engine.summary import format_run_summary

    print(format_run_summary(result.record, config.out, options=config.options()))
    if result.exit_code == 3:
        images, causes = result.record["images"], result.record.get("quarantine", ())
        scored = result.record["counts"].get(SCORED, 0)
        advice = f" The most frequent cause: {describe_cause(causes[0])}. {causes[0]['advice'] or ''}" if causes else ""
        reporter.warn(
            f"{images - scored:,} of {images:,} images are quarantined, more than max_quarantined "
            f"({config.max_quarantined}). {'All other images are scored' if scored else 'No image is scored'}."
            f"{advice.rstrip()} See the columns status and reason of {config.out}/images, or raise --max-quarantined.",
            run_id=result.record["fingerprint"],
        )
    return result.exit_code


def report(args: argparse.Namespace) -> int:
    """Run `masksift report`."""
    from masksift.review.report.config import ReportConfig

    config = _config(args, ReportConfig)
    from masksift.review.report.command import report

    print(report(config, _reporter(args)))
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Run `masksift evaluate`."""
    from masksift.evaluation.evaluate.config import EvaluateConfig

    config = _config(args, EvaluateConfig)
    from masksift.evaluation.evaluate.command import evaluate

    result = evaluate(config, _reporter(args))
    print(result.text)
    if result.unknown_images:
        _print_warning(
            f"{result.unknown_images:,} images of the truth are not in the run ({', '.join(result.unknown_names)})",
            "All other images are evaluated",
            "Pass the truth of the same images to evaluate all",
        )
    return result.exit_code


def export(args: argparse.Namespace) -> int:
    """Run `masksift export FORMAT`."""
    from masksift.review.export.config import export_config_class

    config = _config(args, export_config_class(args.form))
    from masksift.review.export.command import export

    print(export(args.form, config, _reporter(args)))
    return 0


def correct(args: argparse.Namespace) -> int:
    """Run `masksift export corrections`."""
    from masksift.review.corrections.config import CorrectionsConfig

    config = _config(args, CorrectionsConfig)
    from masksift.review.corrections.command import correct

    print(correct(config, _reporter(args)))
    return 0


def export_masks(args: argparse.Namespace) -> int:
    """Run `masksift export masks`."""
    from masksift.review.masks.config import MasksConfig

    config = _config(args, MasksConfig)
    from masksift.review.masks.command import export_masks

    print(export_masks(config, _reporter(args)))
    return 0


def import_edits(args: argparse.Namespace) -> int:
    """Run `masksift import FORMAT`."""
    from masksift.review.imports.config import ImportConfig

    config = _config(args, ImportConfig)
    from masksift.review.imports.command import import_edits

    print(import_edits(args.form, config, _reporter(args)))
    return 0


def rerank(args: argparse.Namespace) -> int:
    """Run `masksift rerank`."""
    from masksift.review.rerank.config import RerankConfig

    config = _config(args, RerankConfig)
    from masksift.review.rerank.command import rerank
    from masksift.review.rerank.summary import format_text

    print(format_text(rerank(config)))
    return 0


def compare(args: argparse.Namespace) -> int:
    """Run `masksift compare`."""
    from masksift.review.compare.config import CompareConfig

    config = _config(args, CompareConfig)
    from masksift.review.compare.command import compare
    from masksift.review.compare.summary import format_text

    result = compare(config)
    print(json.dumps(result, indent=2) if args.json else format_text(result))
    return 0


def check(args: argparse.Namespace) -> int:
    """Run `masksift check`."""
    from masksift.review.check.config import CheckConfig

    config = _config(args, CheckConfig)
    from masksift.review.check.command import check
    from masksift.review.check.summary import format_text

    result = check(config)
    print(json.dumps(result, indent=2) if args.json else format_text(result))
    return 0 if result["passed"] else 6


def verify(args: argparse.Namespace) -> int:
    """Run `masksift verify`."""
    from masksift.review.verify.config import VerifyConfig

    config = _config(args, VerifyConfig)
    from masksift.review.verify.command import verify
    from masksift.review.verify.summary import format_text

    result = verify(config, _reporter(args))
    print(json.dumps(result, indent=2) if args.json else format_text(result))
    return 0 if result["passed"] else 6


def plan(args: argparse.Namespace) -> int:
    """Run `masksift plan`."""
    from masksift.config.run import RunConfig
    from masksift.engine.summary import format_plan
    from masksift.runner import open_and_plan

    config = _config(args, RunConfig)
    sources, plan = open_and_plan(config)
    if args.k8s:  # the pods get the memory that the plan needs: there is no limit to check
        from masksift.engine.planning.kustomize import kustomize_component

        print(kustomize_component(plan, config.executor.workers))
        return 0
    executor = config.executor.choose(plan.seconds)
    limit, prices = executor.memory_limit, (config.storage.price_reads, config.storage.price_writes)
    text = json.dumps(plan.as_json(), indent=2) if args.json else ""
    print(text or format_plan(plan, sources, executor.kind, limit, prices))
    plan.check_memory(limit)
    return 0


def ingest(args: argparse.Namespace) -> int:
    """Run `masksift ingest`."""
    from masksift.prepare.ingest.command import ingest
    from masksift.prepare.ingest.config import IngestConfig

    result = ingest(_config(args, IngestConfig, "--labels and --predictions"), _reporter(args))
    print(result.text)
    if result.unmatched:
        _print_warning(
            f"{result.unmatched:,} files have no counterpart",
            "The source contains all other images",
            "Rename the files to match, and ingest into another --out to include them",
        )
    return result.exit_code


def doctor(args: argparse.Namespace) -> int:
    """Run `masksift doctor`."""
    from masksift.config.run import RunConfig
    from masksift.doctor.command import diagnose

    diagnosis = diagnose(tuple(args.data), _flags(args, RunConfig))
    print(json.dumps(diagnosis.as_json(), indent=2) if args.json else diagnosis.text())
    return 0 if diagnosis.passed else 6


def quickstart(args: argparse.Namespace) -> int:
    """Run `masksift quickstart`."""
    from masksift.config.load import build_config
    from masksift.quickstart.config import QuickstartConfig

    config = build_config(QuickstartConfig, {}, _flags(args, QuickstartConfig))
    from masksift.quickstart.command import quickstart

    result = quickstart(config, _reporter(args))
    print(result.text)
    return result.exit_code


def simulate(args: argparse.Namespace) -> int:
    """Run `masksift simulate`."""
    from masksift.config.load import build_config, read_toml
    from masksift.evaluation.simulate.command import simulate
    from masksift.evaluation.simulate.config import SimulateConfig
    from masksift.evaluation.simulate.error_types import ERROR_TYPES

    files = [arg for arg in args.args if arg.endswith(".toml")]
    error_types = [arg for arg in args.args if not arg.endswith(".toml")]
    if (spare := [*files[1:], *error_types[1:]]) or (error_types and hasattr(args, "kind")):
        args.parser.fail_unknown_args(spare or error_types)
    flags = _flags(args, SimulateConfig) | ({"kind": error_types[0]} if error_types else {})
    tree = read_toml(files[0]) if files else {}
    if "kind" not in {**tree, **flags}:
        raise UsageError("The type of error is required", f"Pass one of {', '.join(ERROR_TYPES)}")
    print(simulate(build_config(SimulateConfig, tree, flags), _reporter(args)))
    return 0


def predict(args: argparse.Namespace) -> int:
    """Run `masksift predict`."""
    from masksift.prepare.predict.command import predict
    from masksift.prepare.predict.config import PredictConfig

    print(predict(_config(args, PredictConfig), _reporter(args)))
    return 0


def sweep(args: argparse.Namespace) -> int:
    """Run `masksift sweep`."""
    from masksift.evaluation.sweep.config import SweepConfig

    config = _config(args, SweepConfig)
    from masksift.evaluation.sweep.command import sweep

    print(sweep(config, _reporter(args)))
    return 0


def show(args: argparse.Namespace) -> int:
    """Run `masksift show`."""
    from masksift.review.inspect.config import ShowConfig

    config = _config(args, ShowConfig)
    from masksift.review.inspect.show import show

    print(show(config))
    return 0


def top(args: argparse.Namespace) -> int:
    """Run `masksift top`."""
    from masksift.review.inspect.config import TopConfig

    config = _config(args, TopConfig)
    from masksift.review.inspect.top import top

    table = top(config)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with contextlib.suppress(BrokenPipeError):  # `masksift top RUN | head`
        for line in table.lines() if args.json else [table.text(width)]:
            print(line)
    return 0


def demo(args: argparse.Namespace) -> int:
    """Run `masksift demo`."""
    from masksift.demo.command import show

    print(show(args.folder, workers=args.workers, log_format=args.log_format))
    return 0


def _print_warning(*sentences: str) -> None:
    print(f"masksift: {UsageError(*sentences)}", file=sys.stderr)
