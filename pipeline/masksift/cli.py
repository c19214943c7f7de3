"""Words typed -> one RunConfig -> run. Exit codes: 0 complete, 2 usage, 3 quarantined images, 4 refused, 5 resumable."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from masksift.config import RunConfig, dotted_keys, from_toml, nearest, resolve
from masksift.errors import Interrupted, MasksiftError, RunFailed, UsageError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments" in message:
            word = message.split(": ", 1)[1].split()[0].lstrip("-").split("=")[0]
            flags = sorted({option.lstrip("-") for action in self._actions for option in action.option_strings})
            said = UsageError(
                f"there is no flag or argument {word!r}", "a misspelt flag would be a setting that does nothing",
                f"Did you mean --{nearest(word, flags)}?",
            )  # fmt: skip
            message = str(said)
        self.exit(2, f"masksift: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit code."""
    parser = _parser()
    words, rest = parser.parse_known_args(argv)
    if rest:
        words.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    act: Callable[[argparse.Namespace], int] = words.act
    try:
        with _stoppable():
            return act(words)
    except KeyboardInterrupt:
        stopped = Interrupted(
            "the run was interrupted", "what is done is kept", "The same command goes on from there"
        )
        print(f"masksift: {stopped}", file=sys.stderr)
        return stopped.exit_code
    except MasksiftError as e:
        print(f"masksift: {e}", file=sys.stderr)
        return e.exit_code
    except Exception as e:
        failed = RunFailed(
            f"the run failed: {type(e).__name__}: {e}", "what is done is kept",
            "Mend the cause (MASKSIFT_TRACEBACK=1 shows where) and run the same command again",
        )  # fmt: skip
        print(f"masksift: {failed}", file=sys.stderr)
        if _wants_traceback():
            raise
        return failed.exit_code


def _wants_traceback() -> bool:
    import os

    return bool(os.environ.get("MASKSIFT_TRACEBACK"))


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, which is how a cluster asks a pod to go, stops a run as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = _Parser(prog="masksift", description="Find mislabeled images and regions in segmentation data sets.")
    parser.add_argument("--version", action="version", version=f"masksift {version('masksift')}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)
    run = _verb(verbs, "run", _run, "condense, score and rank; resumes by itself")
    run.add_argument("config", nargs="?", help="TOML file with the keys of the run")
    _add_keys(run)
    run.add_argument("--print-config", action="store_true", help="print the whole resolved configuration and stop")
    _add_log(run)
    plan = _verb(verbs, "plan", _plan, "what a run would read, write and need; reads metadata only")
    plan.add_argument("config", nargs="?", help="TOML file with the keys of the run")
    _add_keys(plan)
    plan.add_argument("--json", action="store_true", help="the whole plan as JSON")
    score = _verb(verbs, "score", _score, "again, from the kept evidence of a complete run; reads no prediction")
    score.add_argument("base", help="URL of a complete run")
    _add_keys(score, only=("out", "methods", "rank_by", "max_quarantined", "softmin", "tccp.tau", "clc", "coco", "executor"))
    _add_log(score)
    demo = _verb(verbs, "demo", _demo, "a complete small example, end to end")
    demo.add_argument("--folder", default="demo-run", help="where its data and results go")
    demo.add_argument("--workers", type=int, default=2, help="worker processes")
    _add_log(demo)
    return parser


def _verb(verbs: Any, name: str, act: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(act=act, parser=parser)
    return parser


def _add_keys(parser: argparse.ArgumentParser, only: Sequence[str] = ()) -> None:
    for key, field in dotted_keys().items():
        if only and not any(key == name or key.startswith(f"{name}.") for name in only):
            continue
        text = (field.description or "").replace("%", "%%").replace("%%%%", "%%")
        if key == "sources":
            parser.add_argument("--source", "--sources", dest=key, action="append", metavar="URL", help=text,
                                default=argparse.SUPPRESS)  # fmt: skip
        else:
            parser.add_argument(f"--{key}", dest=key, metavar="VALUE", help=text, default=argparse.SUPPRESS)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-format", choices=("auto", "json", "quiet"), default="auto", help="how progress is told")


def _flags(words: argparse.Namespace) -> dict[str, Any]:
    """The keys that were typed; values as TOML understands them, else as text."""
    return {key: _value(value) for key, value in vars(words).items() if key in dotted_keys()}


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (bool, int, float, list)) else text


def _config(words: argparse.Namespace) -> RunConfig:
    return resolve(from_toml(words.config) if words.config else {}, _flags(words))


def _run(words: argparse.Namespace) -> int:
    config = _config(words)
    if words.print_config:
        print(json.dumps(config.model_dump(mode="json"), indent=2))
        return 0
    from masksift.progress import Reporter
    from masksift.run import run

    return _tell(run(config, Reporter(words.log_format)), config)


def _score(words: argparse.Namespace) -> int:
    from masksift.progress import Reporter
    from masksift.run import finished, score_again

    kept = finished(words.base)
    if kept is None:
        raise UsageError(f"{words.base} holds no complete run", "there is no evidence to score", "Finish it with `masksift run`")
    flags = _flags(words)
    if "out" not in flags:
        raise UsageError("'out' is not given", "the first run's results would be overwritten", "Give --out URL")
    config = resolve(kept["configuration"], flags)
    return _tell(score_again(words.base, config, Reporter(words.log_format)), config)


def _tell(outcome: Any, config: RunConfig) -> int:
    from masksift.summary import summary

    print(summary(outcome.record, config.out))
    return int(outcome.exit_code)


def _plan(words: argparse.Namespace) -> int:
    from masksift.executors import memory_limit
    from masksift.run import open_and_plan
    from masksift.summary import plan_text

    config = _config(words)
    sources, plan = open_and_plan(config)
    section = config.executor
    limit = memory_limit(section.kind, workers=section.worker_count, memory=section.memory_bytes)
    print(json.dumps(plan.as_json(), indent=2) if words.json else plan_text(plan, sources, limit))
    plan.check(limit)
    return 0


def _demo(words: argparse.Namespace) -> int:
    from masksift.demo import show

    return show(words.folder, workers=words.workers, log_format=words.log_format)
