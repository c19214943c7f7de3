"""A run that is told about as a whole, and its tasks, each where it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from masksift.core.task_result import TaskResult
from masksift.runtime.telemetry import logs
from masksift.runtime.telemetry import metrics as counted
from masksift.runtime.telemetry import tracing as spans

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logs.logger(__name__)


@contextmanager
def run_telemetry(run_id: str) -> Iterator[None]:
    """A run, from when its fingerprint is known to its end: what is logged inside carries it, and so does an error
    that ends it."""
    with logs.log_context({"run_id": run_id}), spans.run_span(run_id):
        try:
            yield
        except BaseException as e:
            vars(e)["run_id"] = run_id
            raise


def failed_run_id(error: BaseException) -> str | None:
    """The run that an error has ended, as far as there was one yet."""
    found: str | None = vars(error).get("run_id")
    return found


@dataclass(frozen=True)
class InstrumentedTask(Generic[Item, Result]):
    """A function of one item that counts itself, names itself in what is logged meanwhile, and is a span: the same
    answer, the same errors. Picklable where the function is.

    ``about``: the facts of an item, such as its source and block; ``traceparent``: of the span that is open where the
    function is given away, and that each call becomes a child of.
    """

    function: Callable[[Item], Result]
    run_id: str
    stage: str
    about: Callable[[Item], Mapping[str, Any]] = attrgetter("log_fields")
    traceparent: str | None = field(default_factory=spans.traceparent)

    def __call__(self, item: Item) -> Result:
        facts = {"run_id": self.run_id, "stage": self.stage, **self.about(item)}
        begun = time.perf_counter()
        with logs.log_context(facts), spans.task_span(self.stage, facts, self.traceparent) as span:
            try:
                answer = self.function(item)
            except Exception as e:
                counted.record_failure(self.stage, e)
                log.error("a task of the stage %s failed", self.stage, exc_info=True)
                raise
            result = _task_result(answer)
            counted.record_success(self.stage, result, time.perf_counter() - begun)
            spans.set_result_attributes(span, result)
        return answer


def _task_result(answer: object) -> TaskResult | None:
    """The result that an answer is, or has with it; reductions answer none."""
    found = getattr(answer, "task_result", answer)
    return found if isinstance(found, TaskResult) else None
