"""Invalid simulations: the message has a remedy, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluation.simulate.helpers import make_images
from support.cli import error_message, exit_code, run_cli
from support.results import read_files
from support.run_processes import locked_by_another_process
from support.sources import Source, write_source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return write_source(tmp_path / "a.zarr", make_images(), ids=[f"scene-{i}" for i in range(10)])


REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "no kind": ((), r"The type of error is required. Pass one of drop, swap, "),
    "another kind": (("blur",), r"kind must be 'drop', 'swap'"),
    "two kinds": (("drop", "swap"), r"Unexpected argument 'swap'"),
    "a kind twice": (("drop", "--kind", "drop"), r"Unexpected argument 'drop'"),
    "a share beyond all": (("drop", "--share", "1.5"), r"share must be a number less than or equal"),
    "a size of nothing": (("drop", "--size", "0"), r"size must be a number greater than 0"),
    "a size beyond the image": (
        ("shift", "--size", "2"),
        r"size is 2\. The size is the distance.*0\.05\.",
    ),
    "a polygon of two points": (
        ("coarse", "--size", "2"),
        r"The size is the number of vertices .*--size 8\.",
    ),
    "a polygon of some points": (("coarse", "--size", "3.5"), r"size is 3\.5\. The size is the number of vertices"),
    "a fill for a swap": (("swap", "--fill", "ignore"), r"fill is 'ignore'\. No pixel is lost\. Omit --fill"),
    "a fill for a region": (
        ("missing_region", "--fill", "nearest"),
        r"'nearest'\. The fill must be background or ignore\.",
    ),
    "no background": (("missing_region",), r"but background is not set\. Pass --background NAME"),
    "a background for nothing": (("drop", "--background", "class 0"), r"background is 'class 0'\. No pixel is filled"),
    "another background": (("drop", "--fill", "background", "--background", "class 9"), r"has no class 'class 9'\. "),
    "another class": (("drop", "--classes", "clas 1"), r"no class 'clas 1'\. Did you mean 'class 1'\?"),
    "a swap with nothing": (("swap", "--classes", "class 1"), r"classes is class 1\. A swap needs two classes"),
    "objects of a region": (("missing_region", "--background", "class 0", "--objects", "one"), r"objects is 'one'\. "),
    "labels that are the truth": (
        ("drop", "--arrays.labels", "truth"),
        r"labels is 'truth'\. The copy has an error",
    ),
    "no ignore value": (
        ("drop", "--fill", "ignore", "--ignore", "700"),
        r"ignore value that its labels \(uint8\) can store",
    ),
    "a background that is no label": (
        ("drop", "--fill", "background", "--background", "class 0", "--remap", "1:1,2:2,3:3,0:255"),
        r"No stored label value of .*a\.zarr represents the background 'class 0'\. Pass another --background",
    ),
    "an unknown key": (("drop", "--shares", "1"), r"Unknown flag '--shares'. Did you mean --share\?"),
    "a worker too small": (("drop", "--executor.memory", "1 MiB"), r"A simulation on these labels needs 3\d\d"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_invalid_simulation_is_refused_and_writes_nothing(
    case: str, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, match = REFUSALS[case]
    out, code = tmp_path / "out", 4 if "memory" in match or "a worker" in case else 2
    serial = ("--executor.kind", "serial")
    assert exit_code("simulate", *args, "--source", source, "--out", out, *serial, "--log-format", "quiet") == code
    message = error_message(capsys)
    assert re.search(match, message), message
    assert not out.exists()


def test_missing_source_and_reserved_partition_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("simulate", "drop", "--source", "", "--out", tmp_path / "out") == 2
    assert re.search(r"sources must be text that is not empty|No source is configured", error_message(capsys))
    write_source(tmp_path / "kind=a.zarr", make_images())
    assert run_cli("simulate", "drop", "--source", tmp_path / "kind=a.zarr", "--out", tmp_path / "out") == 2
    assert "would become a column 'kind'" in error_message(capsys)


def test_simulate_while_another_process_holds_the_lock_is_refused(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with locked_by_another_process(out):
        before = read_files(out)
        assert run_cli("simulate", "drop", "--source", source, "--out", out) == 2
        assert "is in use by another run (process " in error_message(capsys)
        assert read_files(out) == before
    assert run_cli("simulate", "drop", "--source", source, "--out", out) == 0
