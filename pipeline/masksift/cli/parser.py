"""Words typed -> one RunConfig -> run.

Exit codes: 0 complete, 2 usage or configuration, 3 images that were left out, 4 refused by the plan, 5 resumable,
6 a limit of a check is broken.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

from pydantic import BaseModel

from masksift.cli import commands as acts
from masksift.config.run import RunConfig
from masksift.config.sections import dotted_keys
from masksift.core.errors import UsageError
from masksift.core.text import closest_match
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.simulate.config import SimulateConfig
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
    "out",
    "methods",
    "rank_by",
    "max_quarantined",
    "softmin",
    "tccp.tau",
    "clc",
    "coco",
    "regions",
    "report",
    "thresholds_from",
    "executor",
    "storage",
    "table",
    "iceberg",
)
"""The keys that scoring again may change."""


_EXECUTOR = (
    "where to run: serial, local, dask:tls://HOST:8786, kubernetes:CLUSTER.yaml, or a class of Dask clusters such as "
    "dask_jobqueue.SLURMCluster"
)


class _Parser(argparse.ArgumentParser):
    inherited_keys: Sequence[str] = ()
    """Keys that an earlier run has settled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\d[-\d., ]*$")  # `--ignore -1,255` gives a value, no flag

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument (VERB|FORMAT): invalid choice: '(.*?)'", message):
            what, word = found[1].lower(), found[2]
            known = [name for action in self._actions if action.choices for name in action.choices]
            said = UsageError(
                f"there is no {what} {word!r}, only {', '.join(known)}",
                "there is nothing to do",
                f"Did you mean {closest_match(word, known)!r}?",
            )
        else:
            said = UsageError(message, "nothing was run", f"`{self.prog} --help` shows what it takes")
        self.exit(2, f"masksift: {said}\n")

    def fail_unknown_args(self, words: Sequence[str]) -> NoReturn:
        """End over words that nobody asked for."""
        flag = next((word.split("=")[0] for word in words if word.startswith("-")), None)
        name = (flag or "").lstrip("-").replace("-", "_")
        known = sorted({option for action in self._actions for option in action.option_strings})
        if flag is None:
            said = UsageError(
                f"{words[0]!r} is one word too many",
                "what it should do is not known",
                f"A value goes with its flag, one value a flag; `{self.prog} --help` shows them",
            )
        elif name in self.inherited_keys:
            said = UsageError(
                f"{flag} is no flag of `{self.prog}`",
                "the run that made the evidence has settled it",
                "Leave it out, or change it in a new `masksift run`",
            )
        else:
            said = UsageError(
                f"there is no flag {flag!r}",
                "a misspelt flag would be a setting that does nothing",
                f"Did you mean {closest_match(flag, known)}?",
            )
        self.exit(2, f"masksift: {said}\n")


@cache
def make_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = _Parser(prog="masksift", description="Find mislabeled images and regions in segmentation data sets.")
    parser.add_argument("--version", action="version", version=f"masksift {version('masksift')}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)
    for add in (_add_line, _add_review, _add_exports, _add_sources, _add_measures):
        add(verbs)
    demo = _verb(verbs, "demo", acts.demo, "a complete small example, end to end")
    demo.add_argument("--folder", default="demo-run", help="where its data and results go")
    demo.add_argument("--workers", type=int, default=2, help="worker processes")
    _add_log(demo)
    return parser


def _add_line(verbs: Any) -> None:
    """A run, from its plan to its page."""
    run = _verb(verbs, "run", acts.run, "condense, score, rank and report; resumes by itself")
    run.add_argument("config", nargs="?", help="TOML file with the keys of the run")
    _add_keys(run)
    run.add_argument("--print-config", action="store_true", help="print the whole resolved configuration and stop")
    _add_log(run)
    plan = _verb(verbs, "plan", acts.plan, "what a run would read, write and need; reads metadata and lists objects")
    plan.add_argument("config", nargs="?", help="TOML file with the keys of the run")
    _add_keys(plan)
    forms = plan.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="the whole plan as JSON")
    forms.add_argument("--k8s", action="store_true", help="resources of its pods, as a component of kustomize")
    score = _verb(verbs, "score", acts.score, "again, from the kept evidence of a complete run; reads no prediction")
    score.add_argument("complete", metavar="BASE", help="URL of a complete run")
    _add_keys(score, only=_RESCORE_KEYS)
    score.inherited_keys = tuple(dotted_keys(RunConfig))
    _add_log(score)
    report = _verb(verbs, "report", acts.report, "the page of a complete run once more, into its results")
    report.add_argument("complete", metavar="RUN", help="URL of a complete run")
    _add_keys(report, ReportConfig, [key for key in dotted_keys(ReportConfig) if key != "run"])
    _add_log(report)


def _add_review(verbs: Any) -> None:
    """What is looked at."""
    show = _verb(verbs, "show", acts.show, "one image of a complete run as a PNG: picture, labels, prediction, issues")
    show.add_argument("complete", metavar="RUN", help="URL of a complete run")
    show.add_argument("id", metavar="ID", help="id of the image, or source/index")
    _add_keys(show, ShowConfig, ("out", "side", "arrays", "storage"))
    top = _verb(verbs, "top", acts.top, "the worst images of a complete run, or its worst regions")
    top.add_argument("complete", metavar="RUN", help="URL of a complete run")
    top.add_argument("-n", dest="top", metavar="VALUE", default=argparse.SUPPRESS, help="the same as --top")
    top.add_argument(
        "--regions",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help=TopConfig.model_fields["regions"].description,
    )
    _add_keys(top, TopConfig, ("top", "by", "storage"))
    top.add_argument("--json", action="store_true", help="a JSON object for each, one a line")
    compare = _verb(verbs, "compare", acts.compare, "what got better from one complete run to another")
    compare.add_argument("old", metavar="OLD", help="URL of a complete run")
    compare.add_argument("new", metavar="NEW", help="URL of another one")
    compare.add_argument(
        "-n",
        "--top",
        dest="top",
        metavar="VALUE",
        default=argparse.SUPPRESS,
        help=CompareConfig.model_fields["top"].description,
    )
    _add_keys(compare, CompareConfig, [key for key in dotted_keys(CompareConfig) if key not in ("old", "new", "top")])
    compare.add_argument("--json", action="store_true", help="all of it as JSON")
    check = _verb(verbs, "check", acts.check, "whether a complete run keeps limits; the exit code is 6 where not")
    check.add_argument("complete", metavar="RUN", help="URL of a complete run")
    _add_keys(check, CheckConfig, [key for key in dotted_keys(CheckConfig) if key != "run"])
    check.add_argument("--json", action="store_true", help="all of it as JSON")


def _add_exports(verbs: Any) -> None:
    """What the work goes on with elsewhere."""
    text = "what the work on a complete run goes on with: files for annotation tools, or corrected labels"
    exports = verbs.add_parser("export", help=text, description=text, allow_abbrev=False).add_subparsers(
        required=True, metavar="FORMAT", parser_class=_Parser
    )
    for name, form in FORMATS.items():
        export = _verb(exports, name, acts.export, form.text)
        export.set_defaults(form=name)
        export.add_argument("complete", metavar="RUN", help="URL of a complete run")
        _add_keys(
            export, export_config_class(name), [key for key in dotted_keys(export_config_class(name)) if key != "run"]
        )
        _add_log(export)
    corrections = _verb(
        exports, "corrections", acts.correct, "labels with what reviewers accepted of a run; resumes by itself"
    )
    corrections.add_argument("complete", metavar="RUN", help="URL of a complete run")
    _add_keys(corrections, CorrectionsConfig, [key for key in dotted_keys(CorrectionsConfig) if key != "run"])
    _add_log(corrections)


def _add_sources(verbs: Any) -> None:
    """What a run begins with."""
    ingest = _verb(
        verbs, "ingest", acts.ingest, "PNG, TIFF, npy, npz or COCO panoptic into a source; resumes by itself"
    )
    ingest.add_argument("config", nargs="?", help="TOML file with the keys of the ingest")
    _add_keys(ingest, IngestConfig)
    _add_log(ingest)
    predict = _verb(verbs, "predict", acts.predict, "cross-validated predictions for a source; resumes by itself")
    predict.add_argument("config", nargs="?", help="TOML file with the keys")
    _add_keys(predict, PredictConfig)
    _add_log(predict)


def _add_measures(verbs: Any) -> None:
    """Errors that are known."""
    simulate = _verb(verbs, "simulate", acts.simulate, "known errors into a copy of the labels; resumes by itself")
    simulate.add_argument("words", nargs="*", metavar="KIND", help="of error; and, or, a TOML file with the keys")
    _add_keys(simulate, SimulateConfig)
    _add_log(simulate)
    evaluate = _verb(
        verbs, "evaluate", acts.evaluate, "how well the scores of a complete run find what is known to be wrong"
    )
    evaluate.add_argument("complete", metavar="RUN", help="URL of a complete run")
    _add_keys(evaluate, EvaluateConfig, [key for key in dotted_keys(EvaluateConfig) if key != "run"])
    _add_log(evaluate)
    sweep = _verb(
        verbs, "sweep", acts.sweep, "many settings of known errors and scores, measured from evidence kept once"
    )
    sweep.add_argument("config", nargs="?", help="TOML file with the keys of the sweep")
    _add_keys(sweep, SweepConfig)
    _add_log(sweep)


def _verb(verbs: Any, name: str, act: Callable[[argparse.Namespace], int], text: str) -> _Parser:
    parser: _Parser = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(act=act, parser=parser)
    return parser


def _add_keys(parser: argparse.ArgumentParser, model: type[BaseModel] = RunConfig, only: Sequence[str] = ()) -> None:
    for key, field in dotted_keys(model).items():
        if only and not any(key == name or key.startswith(f"{name}.") for name in only):
            continue
        text = (field.description or "").replace("%", "%%").replace("%%%%", "%%")
        if key == "sources":
            parser.add_argument(
                "--source", "--sources", dest=key, action="append", metavar="URL", help=text, default=argparse.SUPPRESS
            )
        else:
            names = dict.fromkeys([f"--{key}", f"--{key.replace('_', '-')}"])
            if key == "executor.kind":
                parser.add_argument("--executor", metavar="KIND[:WHERE]", default=argparse.SUPPRESS, help=_EXECUTOR)
            elif key == "executor.address":
                names["--address"] = None
            # a switch may stand alone
            more: dict[str, Any] = (
                {"nargs": "?", "const": "true"} if field.annotation is bool and not field.default else {}
            )
            parser.add_argument(*names, dest=key, metavar="VALUE", help=text, default=argparse.SUPPRESS, **more)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-format", choices=("auto", "json", "quiet"), default="auto", help="how progress is told")
