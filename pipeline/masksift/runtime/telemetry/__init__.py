"""Telemetry: Prometheus metrics of the workers, log lines with context, and OpenTelemetry traces."""

from __future__ import annotations

from masksift.runtime.telemetry.instrument import InstrumentedTask, failed_run_id, run_telemetry

__all__ = ["InstrumentedTask", "failed_run_id", "run_telemetry"]
