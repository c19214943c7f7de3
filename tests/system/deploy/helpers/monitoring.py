"""Queries of the dashboard and the alerts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ALERTS", "METRIC", "dashboard", "queries", "rules"]

DEPLOY = Path(__file__).parents[4] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
METRIC = re.compile(r"\b(?:masksift|dask)_[a-z0-9_]+\b")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana/masksift.json").read_text())
    return found


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    return found


def queries() -> list[str]:
    """All queries of the dashboard, its variables and the alerts."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    variables = [one["definition"] for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    assert len(panels) > 25
    assert len(variables) == 2
    return [*panels, *variables, *(rule["expr"] for rule in rules())]
