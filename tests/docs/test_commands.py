"""The commands of README and tutorials run in order on a small demo; all others parse."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import zarr

from docs.pages import PAGES, ROOT, Block, blocks, shell_commands
from masksift.cli.main import main
from masksift.cli.parser import make_parser
from masksift.config.load import build_run_config
from masksift.demo import make_demo
from prepare.ingest.helpers import save_image

RUNNABLE = [ROOT / "README.md", *sorted((ROOT / "docs/tutorials").glob("*.md"))]
WITH_EXECUTOR = {"quickstart", "run", "score", "report", "evaluate", "export"}


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo with a completed run, laid out like `demo-run` after `make demo`."""
    folder = tmp_path_factory.mktemp("docs") / "demo-run"
    demo = make_demo(folder, images=12, height=64, width=128, workers=1, report=lambda text: None)
    assert main(["run", "--source", str(demo.source), "--out", str(folder / "results"), *SERIAL]) == 0
    return folder


SERIAL = ("--executor", "serial", "--log-format", "quiet")


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_marked_blocks_of_a_page_run_in_order(
    page: Path,
    demo_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    shutil.copytree(demo_run, "demo-run")
    shutil.copytree(demo_run / "source.zarr", "street.zarr")
    if page.name == "README.md":
        write_files(demo_run / "source.zarr")
    if page.name == "review-loop.md":  # runs resume and reuse by the location of their source
        assert main(["run", "--source", "demo-run/source.zarr", "--out", "demo-run/again", *SERIAL]) == 0
        shutil.rmtree("demo-run/results")
        Path("demo-run/again").rename("demo-run/results")
    assert any(block.note is not None for block in blocks(page))
    previous: Block | None = None
    for block in blocks(page):
        if block.note is not None and block.language == "python":
            exec(compile(block.text, str(page), "exec"), {})
        elif block.note is not None:
            capsys.readouterr()
            run_shell(block)
        elif block.language == "text" and previous is not None and "masksift" in previous.text:
            assert not words(block.text) - words(capsys.readouterr().out), "the output that the page quotes has changed"
        previous = block if block.note is not None else None


def write_files(source: Path) -> None:
    """Write the images and labels of a source as `images/*.png` and `masks/*.png`."""
    group = zarr.open_group(source, mode="r")
    for name, folder in (("images", "images"), ("labels", "masks")):
        for i, image in enumerate(np.asarray(group[name])):
            save_image(Path(f"{folder}/{i}.png"), image)


def words(output: str) -> set[str]:
    """Return the words of an output, without names of the demo's images, classes, files and error types."""
    names = {
        "scene",
        "pole",
        "car",
        "road",
        "sky",
        "building",
        "sidewalk",
        "person",
        "vegetation",
        "drop",
        "swap",
        "shift",
    }
    return set(re.findall(r"\b[a-z]{3,}\b", re.sub(r"\S*/\S*", "", output.lower()))) - names


def run_shell(block: Block) -> None:
    expected = int(match[1]) if (match := re.match(r"exit (\d)", block.note or "")) else 0
    for command in shell_commands(block.text):
        if command == ["make", "demo"]:
            assert re.search(r"^demo: setup\n\t\$\(BIN\)/masksift demo$", (ROOT / "Makefile").read_text(), re.M)
            continue
        assert command[0] == "masksift"
        args = command[1:]
        if args[0] in WITH_EXECUTOR and "--executor" not in args:
            args += ["--executor", "serial"]
        assert main(args) == expected, command


def documented_commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.language == "bash" and "masksift" in block.text and "python -c" not in block.text:
                found += [(page.name, command) for command in shell_commands(block.text) if command[0] == "masksift"]
    return found


@pytest.mark.parametrize(("page", "command"), documented_commands(), ids=str)
def test_every_documented_command_parses(page: str, command: list[str]) -> None:
    if command[-1] == "--version":
        return
    _, unknown = make_parser().parse_known_args(command[1:])
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_in_code_spans_exist(page: Path) -> None:
    for command, flags in re.findall(r"`masksift ((?:export )?[a-z-]+)((?: [^`]*)?)`", page.read_text()):
        for flag in re.findall(r"(?<!\S)--[\w.-]+", flags):
            with pytest.raises(SystemExit, match="0"):
                make_parser().parse_args([*command.split(), "--help"])
            assert flag in option_strings(command), (command, flag)


def option_strings(command: str) -> set[str]:
    parser = make_parser()
    for word in command.split():
        [verbs] = [action for action in parser._actions if action.nargs == "A..."]
        parser = verbs.choices[word]  # type: ignore[index,call-overload]
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_toml_of_a_run_is_a_valid_configuration(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            assert build_run_config(tomllib.loads(block.text), {}).sources
