"""Telemetry of a run as a whole, and of each task where it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from masksift.core.task_result import TaskResult
from masksift.runtime.telemetry import logs, metrics, tracing

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logs.logger(__name__)


@contextmanager
def run_telemetry(run_id: str) -> Iterator[None]:
    """Open the span of a run, and add its id to log lines and to an error that ends it."""
    with logs.log_context({"run_id": run_id}), tracing.run_span(run_id):
        try:
            yield
        except BaseException as e:
            vars(e)["run_id"] = run_id
            raise


def failed_run_id(error: BaseException) -> str | None:
    """Return the id of the run that an error has ended, if it had one."""
    run_id: str | None = vars(error).get("run_id")
    return run_id


@dataclass(frozen=True)
class InstrumentedTask(Generic[Item, Result]):
    """Wrap a function of one item with metrics, log context and a span; results and errors stay the same.

    Picklable if the function is.

    Attributes:
        function: The wrapped function.
        run_id: Fingerprint of the run.
        stage: Name of the stage.
        item_fields: Returns the log fields of an item, such as its source and block.
        traceparent: W3C trace parent of the span that is open when the task is created.
    """

    function: Callable[[Item], Result]
    run_id: str
    stage: str
    item_fields: Callable[[Item], Mapping[str, Any]] = attrgetter("log_fields")
    traceparent: str | None = field(default_factory=tracing.traceparent)

    def __call__(self, item: Item) -> Result:
        """Call the function for one item."""
        fields = {"run_id": self.run_id, "stage": self.stage, **self.item_fields(item)}
        started = time.perf_counter()
        with logs.log_context(fields), tracing.task_span(self.stage, fields, self.traceparent) as span:
            try:
                answer = self.function(item)
            except Exception as e:
                metrics.record_failure(self.stage, e)
                log.error("A task of stage %s failed", self.stage, exc_info=True)
                raise
            result = _task_result(answer)
            metrics.record_success(self.stage, result, time.perf_counter() - started)
            tracing.set_result_attributes(span, result)
        return answer


def _task_result(answer: object) -> TaskResult | None:
    """Return the task result that an answer is or contains; reductions have none."""
    result = getattr(answer, "task_result", answer)
    return result if isinstance(result, TaskResult) else None
