"""Argument parser of the command line.

Exit codes: 0 complete, 2 usage or configuration error, 3 quarantined images, 4 refused by the plan, 5 failed and
resumable, 6 failed check.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, NoReturn

from pydantic import BaseModel

from masksift.cli import commands
from masksift.cli.options import HelpFormatter, add_model_options
from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.evaluation.sweep.config import SweepConfig
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.predict.config import PredictConfig
from masksift.review.check.config import CheckConfig
from masksift.review.compare.config import CompareConfig
from masksift.review.corrections.config import CorrectionsConfig
from masksift.review.export import FORMATS
from masksift.review.export.config import export_config_class
from masksift.review.inspect.config import ShowConfig, TopConfig
from masksift.review.report.config import ReportConfig

_RESCORE_KEYS = (
    *("out", "methods", "rank_by", "max_quarantined", "thresholds_from", "table", "tccp.tau"),
    *("softmin", "clc", "coco", "regions", "report", "executor", "storage", "iceberg"),
)
"""Keys and sections that `masksift score` may change."""


class _Parser(argparse.ArgumentParser):
    inherited_keys: Sequence[str] = ()
    """Keys that the scored run has fixed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, "allow_abbrev": False, **kwargs})
        self._negative_number_matcher = re.compile(r"-\d[-\d., ]*$")  # `--ignore -1,255` has a value, not a flag

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument (COMMAND|FORMAT): invalid choice: '(.*?)'", message):
            kind, word = match[1].lower(), match[2]
            choices = [name for action in self._actions if action.choices for name in action.choices]
            error = UsageError(
                f"Unknown {kind} {word!r}",
                f"The {kind}s are {', '.join(choices)}",
                f"Did you mean {closest_match(word, choices)!r}?",
            )
        else:
            error = UsageError(message[0].upper() + message[1:], f"See `{self.prog} --help`")
        self.exit(2, f"masksift: {error}\n")

    def fail_unknown_args(self, args: Sequence[str]) -> NoReturn:
        """Exit with an error about arguments that no option takes."""
        flag = next((arg.split("=")[0] for arg in args if arg.startswith("-")), None)
        flags = sorted({flag for action in self._actions for flag in action.option_strings})
        if flag is None:
            error = UsageError(
                f"Unexpected argument {args[0]!r}", f"Pass one value after each flag; see `{self.prog} --help`"
            )
        elif flag.lstrip("-").replace("-", "_") in self.inherited_keys:
            error = UsageError(
                f"{flag} cannot change in `{self.prog}`",
                "The run that made the evidence has fixed it",
                "Omit it, or start a new `masksift run`",
            )
        else:
            error = UsageError(f"Unknown flag {flag!r}", f"Did you mean {closest_match(flag, flags)}?")
        self.exit(2, f"masksift: {error}\n")


@cache
def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    from importlib.metadata import version

    parser = _Parser(
        prog="masksift",
        description="Find mislabeled images and regions in segmentation data sets.",
        epilog="`masksift COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"masksift {version('masksift')}")
    verbs = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", prog="masksift", parser_class=_Parser
    )
    for add in (_add_run_commands, _add_review_commands, _add_prepare_commands, _add_evaluation_commands):
        add(verbs)
    demo = _add_command(verbs, "demo", commands.demo, "create an example data set and run masksift on it")
    demo.add_argument("--folder", default="demo-run", metavar="DIR", help="output directory (default: demo-run)")
    demo.add_argument("--workers", type=int, default=2, metavar="N", help="number of worker processes (default: 2)")
    _add_log_format(demo)
    return parser


def _add_run_commands(verbs: Any) -> None:
    text = "score and rank all images and write the report page"
    run = _add_from_file(verbs, "run", commands.run, RunConfig, text)
    run.add_argument("--print-config", action="store_true", help="print the complete configuration and exit")
    text = "show what a run would read, write and need, without reading chunks"
    plan = _add_from_file(verbs, "plan", commands.plan, RunConfig, text, log_format=False)
    forms = plan.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    forms.add_argument("--k8s", action="store_true", help="print the pod resources as a kustomize component")
    text = "score a completed run again from its evidence, without predictions"
    score = _add_command(verbs, "score", commands.score, text, resumable=True)
    score.add_argument("completed_run", metavar="RUN", help="URL of a completed run")
    add_model_options(score, RunConfig, only=_RESCORE_KEYS)
    score.inherited_keys = tuple(dotted_keys(RunConfig))
    _add_log_format(score)
    _add_on_run(verbs, "report", commands.report, ReportConfig, "write the report page of a completed run again")


def _add_review_commands(verbs: Any) -> None:
    text = "draw one image with labels, prediction and issues as a PNG"
    _add_on_run(verbs, "show", commands.show, ShowConfig, text, arguments=("run", "image"), log_format=False)
    text = "list the images or regions that are most likely mislabeled"
    top = _add_on_run(verbs, "top", commands.top, TopConfig, text, exclude=("regions",), log_format=False)
    top.add_argument(
        "--regions",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help=TopConfig.model_fields["regions"].description,
    )
    top.add_argument("--json", action="store_true", help="print one JSON object per line")
    compare = _add_command(verbs, "compare", commands.compare, "compare the rankings of two completed runs")
    compare.add_argument("old", metavar="OLD", help="URL of a completed run")
    compare.add_argument("new", metavar="NEW", help="URL of another completed run")
    add_model_options(compare, CompareConfig, exclude=("old", "new"), short_flags={"top": "-n"})
    compare.add_argument("--json", action="store_true", help="print the comparison as JSON")
    text = "check a completed run against limits; exit code 6 if one is exceeded"
    check = _add_on_run(verbs, "check", commands.check, CheckConfig, text, log_format=False)
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    text = "export a completed run for annotation tools, or as corrected labels"
    formats = verbs.add_parser("export", help=text, description=f"{text.capitalize()}.").add_subparsers(
        required=True, metavar="FORMAT", title="formats", prog="masksift export", parser_class=_Parser
    )
    for name, form in FORMATS.items():
        export = _add_on_run(formats, name, commands.export, export_config_class(name), form.text)
        export.set_defaults(form=name)
    text = "write the labels with the corrections that reviewers accepted"
    _add_on_run(formats, "corrections", commands.correct, CorrectionsConfig, text, resumable=True)


def _add_prepare_commands(verbs: Any) -> None:
    text = "convert PNG, TIFF, NumPy or COCO panoptic files into a source"
    _add_from_file(verbs, "ingest", commands.ingest, IngestConfig, text)
    text = "make cross-validated predictions for a source"
    _add_from_file(verbs, "predict", commands.predict, PredictConfig, text)


def _add_evaluation_commands(verbs: Any) -> None:
    text = "insert known label errors into a copy of the labels"
    simulate = _add_command(verbs, "simulate", commands.simulate, text, resumable=True)
    simulate.add_argument(
        "args",
        nargs="*",
        metavar="ERROR|FILE.toml",
        help=f"type of error ({', '.join(ERROR_TYPES)}), a TOML file with the keys, or both",
    )
    add_model_options(simulate, SimulateConfig)
    _add_log_format(simulate)
    text = "measure how well the scores of a run find known errors"
    _add_on_run(verbs, "evaluate", commands.evaluate, EvaluateConfig, text)
    text = "evaluate all scores on many types and rates of simulated errors"
    _add_from_file(verbs, "sweep", commands.sweep, SweepConfig, text)


def _add_command(
    verbs: Any, name: str, command: Callable[[argparse.Namespace], int], text: str, resumable: bool = False
) -> _Parser:
    """Add a subcommand with its one-line help."""
    ending = " After an interruption or a failure, the same command resumes." if resumable else ""
    parser: _Parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.{ending}")
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_from_file(
    verbs: Any,
    name: str,
    command: Callable[[argparse.Namespace], int],
    model: type[BaseModel],
    text: str,
    log_format: bool = True,
) -> _Parser:
    """Add a subcommand whose configuration comes from a TOML file, flags, or both."""
    parser = _add_command(verbs, name, command, text, resumable=log_format)
    parser.add_argument(
        "config", nargs="?", metavar="FILE.toml", help="TOML file with keys named like the flags; flags override it"
    )
    add_model_options(parser, model)
    if log_format:
        _add_log_format(parser)
    return parser


def _add_on_run(
    verbs: Any,
    name: str,
    command: Callable[[argparse.Namespace], int],
    model: type[BaseModel],
    text: str,
    *,
    arguments: Collection[str] = ("run",),
    exclude: Collection[str] = (),
    resumable: bool = False,
    log_format: bool = True,
) -> _Parser:
    """Add a subcommand whose first argument is a completed run."""
    parser = _add_command(verbs, name, command, text, resumable)
    for key in arguments:
        parser.add_argument(key, metavar=key.upper(), help=model.model_fields[key].description)
    short_flags = {"top": "-n"} if name == "top" else {}
    add_model_options(parser, model, exclude=(*arguments, *exclude), short_flags=short_flags)
    if log_format:
        _add_log_format(parser)
    return parser


def _add_log_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-format",
        choices=("auto", "json", "quiet"),
        default="auto",
        help="progress output: a bar or lines, JSON lines, or errors only (default: auto)",
    )
