"""Execution: executors, progress output, logs, metrics and traces."""
