"""SECURITY.md: every file it names exists and keeps its promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / ".github/SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w.-]+(?:/[\w.-]+)+)`", TEXT)))


@pytest.mark.parametrize("name", NAMED)
def test_named_file_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_rows_name_the_test_that_checks_them() -> None:
    table = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| input |")]
    assert len(table) > 10
    for row in table:
        held = row.split("|")[3]
        assert [name for name in NAMED if f"`{name}`" in held], row


def test_unpickling_happens_only_in_the_named_files() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pipeline").rglob("*.py")
        if re.search(
            r"pickle\.loads?\(|Unpickler|allow_pickle=True|(?<![.\w])(?:eval|exec)\(|shell=True|os\.system",
            path.read_text(),
        )
    }
    assert found == {
        "pipeline/masksift/prepare/predict/tasks.py",
        "pipeline/masksift/runtime/executors/work_groups.py",
    }
    assert found <= set(NAMED)


def test_checkpoints_load_weights_only() -> None:
    loads = re.findall(
        r"torch\.load\((.*)\)",
        (ROOT / "pipeline/masksift/prepare/predict/trainers/segmentation_network.py").read_text(),
    )
    assert loads
    assert all("weights_only=True" in args for args in loads)


def test_configuration_has_no_key_for_a_secret() -> None:
    from masksift.config.run import RunConfig
    from masksift.config.sections import dotted_keys

    assert not [key for key in dotted_keys(RunConfig) if re.search(r"secret|token|passw|credential|access_key", key)]
