"""What a run tells while it runs: counters that Prometheus reads from the workers, log lines that say which block they
are of, spans of one trace. It decides nothing and costs nothing where nobody listens."""

from __future__ import annotations

from masksift.runtime.telemetry.instrument import InstrumentedTask, failed_run_id, run_telemetry

__all__ = ["InstrumentedTask", "failed_run_id", "run_telemetry"]
