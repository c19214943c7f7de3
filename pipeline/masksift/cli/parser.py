"""Argument parser of the command line.

Exit codes: 0 complete, 2 usage or configuration error, 3 quarantined images, 4 refused by the plan, 5 failed and
resumable, 6 failed check or verification.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NoReturn

from masksift.cli import commands
from masksift.core.errors import UsageError
from masksift.core.text import closest_match

if TYPE_CHECKING:
    from pydantic import BaseModel

_RESCORE_KEYS = (
    *("out", "methods", "rank_by", "max_quarantined", "thresholds_from", "table", "tccp.tau"),
    *("softmin", "clc", "coco", "regions", "report", "executor", "storage", "iceberg"),
)
"""Keys and sections that `masksift score` may change."""


_SOURCE_KEYS = (
    *("classes", "ignore", "remap", "label_offset", "kind", "scale", "sum_tolerance", "resize"),
    *("arrays", "executor", "storage"),
)
"""Keys and sections of a run that `masksift doctor` takes."""


class HelpFormatter(argparse.HelpFormatter):
    """Help with one spelling of each flag and a short usage line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36)

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """List the positional arguments only: the options have their own sections."""
        names = [
            f"[{action.metavar}]" if action.nargs in ("?", "*") else str(action.metavar)
            for action in actions
            if not action.option_strings
        ]
        super().add_usage(usage or " ".join([self._prog, *names, "[options]"]), actions, groups, prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        short = [flag for flag in action.option_strings if len(flag) == 2]
        long = [flag for flag in action.option_strings if len(flag) > 2][:1]
        values = self._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
        return f"{', '.join(short + long)} {values}".rstrip()


class CommandParser(argparse.ArgumentParser):
    """Parser that adds its options when it is used: only one command pays for the import of its configuration.

    Attributes:
        add_options: Adds the options.
        inherited_keys: Keys that the scored run has fixed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, "allow_abbrev": False, **kwargs})
        self._negative_number_matcher = re.compile(r"-\d[-\d., ]*$")  # `--ignore -1,255` has a value, not a flag
        self.add_options: Callable[[CommandParser], object] | None = None
        self.inherited_keys: Sequence[str] = ()

    def complete(self) -> CommandParser:
        """Add the options unless they are there, and return the parser."""
        add_options, self.add_options = self.add_options, None
        if add_options is not None:
            add_options(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        """Add the options, then parse."""
        return argparse.ArgumentParser.parse_known_args(self.complete(), args, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with an error in the style of all others."""
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


class _ShowVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"masksift {version('masksift')}\n")
        parser.exit()


@cache
def make_parser() -> CommandParser:
    """Build the parser of all commands."""
    parser = CommandParser(
        prog="masksift",
        description="Find mislabeled images and regions in segmentation data sets.",
        epilog="`masksift COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show program's version number and exit")
    verbs = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", prog="masksift", parser_class=CommandParser
    )
    for name, (command, text, add_options) in _COMMANDS.items():
        _add_command(verbs, name, command, text, add_options)
    return parser


def _add_command(
    verbs: Any,
    name: str,
    command: Callable[[argparse.Namespace], int] | None,
    text: str,
    add_options: Callable[[CommandParser], object],
) -> None:
    """Add a subcommand with its one-line help; one without a function has subcommands."""
    ending = " After an interruption or a failure, the same command resumes." if name in _RESUMABLE else ""
    parser: CommandParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.{ending}")
    parser.add_options = add_options
    if command is not None:
        parser.set_defaults(command=command, parser=parser)


def _add_run_options(parser: CommandParser) -> None:
    _add_file_options(parser, "config.run:RunConfig")
    parser.add_argument("--print-config", action="store_true", help="print the complete configuration and exit")


def _add_plan_options(parser: CommandParser) -> None:
    _add_file_options(parser, "config.run:RunConfig", log_format=False)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    forms.add_argument("--k8s", action="store_true", help="print the pod resources as a kustomize component")


def _add_score_options(parser: CommandParser) -> None:
    from masksift.config.sections import dotted_keys

    parser.add_argument("completed_run", metavar="RUN", help="URL of a completed run")
    model = _add_model_options(parser, "config.run:RunConfig", only=_RESCORE_KEYS)
    parser.inherited_keys = tuple(dotted_keys(model))
    _add_log_format(parser)


def _add_top_options(parser: CommandParser) -> None:
    model = _add_model_options(
        parser, "review.inspect.config:TopConfig", ("run",), exclude=("regions",), short_flags={"top": "-n"}
    )
    parser.add_argument(
        "--regions",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help=model.model_fields["regions"].description,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def _add_rerank_options(parser: CommandParser) -> None:
    _add_model_options(parser, "review.rerank.config:RerankConfig", ("run",), short_flags={"top": "-n"})


def _add_compare_options(parser: CommandParser) -> None:
    parser.add_argument("old", metavar="OLD", help="URL of a completed run")
    parser.add_argument("new", metavar="NEW", help="URL of another completed run")
    _add_model_options(parser, "review.compare.config:CompareConfig", exclude=("old", "new"), short_flags={"top": "-n"})
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def _add_check_options(parser: CommandParser) -> None:
    _add_model_options(parser, "review.check.config:CheckConfig", ("run",))
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_verify_options(parser: CommandParser) -> None:
    _add_options_on_run(parser, "review.verify.config:VerifyConfig")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_export_formats(parser: CommandParser) -> None:
    from masksift.review.export import FORMATS

    formats = parser.add_subparsers(
        required=True, metavar="FORMAT", title="formats", prog="masksift export", parser_class=CommandParser
    )
    for name, form in FORMATS.items():
        _add_command(formats, name, commands.export, form.text, _add_export_options)
        formats.choices[name].set_defaults(form=name)
    text = "write the labels with the corrections that reviewers accepted"
    options = partial(_add_options_on_run, model_path="review.corrections.config:CorrectionsConfig")
    _add_command(formats, "corrections", commands.correct, text, options)
    text = "write corrected labels as files in the form of the label files that were ingested"
    options = partial(_add_options_on_run, model_path="review.masks.config:MasksConfig")
    _add_command(formats, "masks", commands.export_masks, text, options)


def _add_import_formats(parser: CommandParser) -> None:
    from masksift.review.imports import FORMATS

    formats = parser.add_subparsers(
        required=True, metavar="FORMAT", title="formats", prog="masksift import", parser_class=CommandParser
    )
    for name, text in FORMATS.items():
        _add_command(formats, name, commands.import_edits, text, _add_import_options)
        formats.choices[name].set_defaults(form=name)


def _add_import_options(parser: CommandParser) -> None:
    _add_model_options(parser, "review.imports.config:ImportConfig", ("file",))
    _add_log_format(parser)


def _add_export_options(parser: CommandParser) -> None:
    from masksift.cli.options import add_model_options
    from masksift.review.export.config import export_config_class

    add_model_options(parser, export_config_class(parser.get_default("form")), positional=("run",))
    _add_log_format(parser)


def _add_simulate_options(parser: CommandParser) -> None:
    from masksift.evaluation.simulate.error_types import ERROR_TYPES

    parser.add_argument(
        "args",
        nargs="*",
        metavar="ERROR|FILE.toml",
        help=f"type of error ({', '.join(ERROR_TYPES)}), a TOML file with the keys, or both",
    )
    _add_model_options(parser, "evaluation.simulate.config:SimulateConfig")
    _add_log_format(parser)


def _add_demo_options(parser: CommandParser) -> None:
    parser.add_argument("--folder", default="demo-run", metavar="DIR", help="output directory (default: demo-run)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="number of worker processes (default: 2)")
    _add_log_format(parser)


def _add_file_options(parser: CommandParser, model_path: str, log_format: bool = True) -> None:
    """Add the options of a configuration that comes from a TOML file, flags, or both."""
    parser.add_argument(
        "config", nargs="?", metavar="FILE.toml", help="TOML file with keys named like the flags; flags override it"
    )
    _add_model_options(parser, model_path)
    if log_format:
        _add_log_format(parser)


def _add_options_on_run(parser: CommandParser, model_path: str) -> None:
    """Add the options of a command whose argument is a completed run."""
    _add_model_options(parser, model_path, ("run",))
    _add_log_format(parser)


def _add_model_options(
    parser: CommandParser, model_path: str, positional: Collection[str] = (), **selection: Any
) -> type[BaseModel]:
    """Import a configuration model, add its options, and return it."""
    from masksift.cli.options import add_model_options

    model: type[BaseModel] = resolve_name(f"masksift.{model_path}")
    add_model_options(parser, model, positional, **selection)
    return model


def _add_log_format(parser: CommandParser) -> None:
    parser.add_argument(
        "--log-format",
        choices=("auto", "json", "quiet"),
        default="auto",
        help="progress output: a bar or lines, JSON lines, or errors only (default: auto)",
    )


def _add_doctor_options(parser: CommandParser) -> None:
    parser.add_argument("data", nargs="*", metavar="SOURCE", help="URL or glob of Zarr groups")
    _add_model_options(parser, "config.run:RunConfig", only=_SOURCE_KEYS)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _add_quickstart_options(parser: CommandParser) -> None:
    _add_model_options(parser, "quickstart.config:QuickstartConfig")
    _add_log_format(parser)


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int] | None, str, Callable[[CommandParser], object]]] = {
    "quickstart": (
        commands.quickstart,
        "make the report of a folder of labels with images or predictions",
        _add_quickstart_options,
    ),
    "run": (commands.run, "score and rank all images and write the report page", _add_run_options),
    "plan": (
        commands.plan,
        "show what a run would read, write and need, without reading predictions",
        _add_plan_options,
    ),
    "score": (
        commands.score,
        "score a completed run again from its evidence, without predictions",
        _add_score_options,
    ),
    "report": (
        commands.report,
        "write the report page of a completed run again",
        partial(_add_options_on_run, model_path="review.report.config:ReportConfig"),
    ),
    "show": (
        commands.show,
        "draw one image with labels, prediction and issues as a PNG",
        partial(_add_model_options, model_path="review.inspect.config:ShowConfig", positional=("run", "image")),
    ),
    "top": (commands.top, "list the images or regions that are most likely mislabeled", _add_top_options),
    "rerank": (
        commands.rerank,
        "learn from the decisions so far, and reorder the regions that remain",
        _add_rerank_options,
    ),
    "compare": (commands.compare, "compare the rankings of two completed runs", _add_compare_options),
    "check": (
        commands.check,
        "check a completed run against limits; exit code 6 if one is exceeded",
        _add_check_options,
    ),
    "doctor": (
        commands.doctor,
        "check the installation and sources, and propose the next command; exit code 6 if a run would fail",
        _add_doctor_options,
    ),
    "verify": (
        commands.verify,
        "recompute images of a completed run in plain NumPy and compare; exit code 6 if a number differs",
        _add_verify_options,
    ),
    "export": (
        None,
        "export a completed run for annotation tools, or as corrected labels",
        _add_export_formats,
    ),
    "import": (
        None,
        "write labels with the changes that reviewers made to an export in an annotation tool",
        _add_import_formats,
    ),
    "ingest": (
        commands.ingest,
        "convert label files, images and predictions into a source",
        partial(_add_file_options, model_path="prepare.ingest.config:IngestConfig"),
    ),
    "predict": (
        commands.predict,
        "make cross-validated predictions for a source",
        partial(_add_file_options, model_path="prepare.predict.config:PredictConfig"),
    ),
    "simulate": (commands.simulate, "insert known label errors into a copy of the labels", _add_simulate_options),
    "evaluate": (
        commands.evaluate,
        "measure how well the scores of a run find known errors",
        partial(_add_options_on_run, model_path="evaluation.evaluate.config:EvaluateConfig"),
    ),
    "sweep": (
        commands.sweep,
        "evaluate all scores on many types and rates of simulated errors",
        partial(_add_file_options, model_path="evaluation.sweep.config:SweepConfig"),
    ),
    "demo": (commands.demo, "create an example data set and run masksift on it", _add_demo_options),
}
"""Function, help and options of each command."""

_RESUMABLE = ("quickstart", "run", "score", "corrections", "masks", "ingest", "predict", "simulate", "sweep")
