"""File names and class names of exports are safe and unique for any ids and class names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.file_names import MAX_PART_BYTES, FileNames, label_map_names, make_unique, xml_safe

texts = st.text(max_size=30)
image_ids = st.one_of(
    texts, st.sampled_from(["..", "a/..", "a", "A", "a_2", "a.png", "a.png/b", "CON", "/", "\\..\\x", "-f"])
)


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("frankfurt/frankfurt_000000_leftImg8bit.png", "frankfurt/frankfurt_000000_leftImg8bit"),
        ("street.v1.0", "street.v1.0"),
        ("../../etc/passwd", "__/__/etc/passwd"),
        ("/abs/olute", "abs/olute"),
        ("C:\\pictures\\x.JPG", "C_/pictures/x"),
        ("two words", "two_words"),
        ("地面/écran", "地面/écran"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("nul", "_nul"),
        ("", "_"),
        ("a.png/b", "a.png_/b"),
    ],
)
def test_path_keeps_the_safe_part_of_an_id(image_id: str, name: str) -> None:
    assert FileNames().name(image_id) == name


def test_colliding_ids_get_distinct_paths() -> None:
    names = FileNames()
    assert [names.name(text) for text in ("a", "a.jpg", "A", "a_2", "a/b", "a b")] == [
        "a",
        "a_2",
        "A_3",
        "a_2_2",
        "a/b",
        "a_b",
    ]


@given(st.lists(image_ids, max_size=8))
def test_any_ids_give_distinct_files_below_the_directory(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    names, directory = FileNames(), tmp_path_factory.mktemp("names")
    paths = [names.name(text) for text in ids]
    assert len({name.casefold() for name in paths}) == len(ids)
    for number, name in enumerate(paths):
        file = directory / f"{name}.png"
        assert directory in file.resolve().parents
        assert all(len(part.encode()) <= MAX_PART_BYTES + 20 for part in name.split("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
    assert [(directory / f"{name}.png").read_text() for name in paths] == [str(number) for number in range(len(ids))]


@given(st.lists(texts, max_size=6))
def test_class_names_are_non_empty_and_unique(names: list[str]) -> None:
    for safe_names in (make_unique(names), xml_safe(names), label_map_names(tuple(names))):
        assert len(set(safe_names)) == len(safe_names) == len(names)
        assert all(safe_names)


@given(st.lists(texts, min_size=1, max_size=6))
def test_xml_preserves_safe_names(names: list[str]) -> None:
    for name in xml_safe(names):
        element = ET.Element("x", name=name)
        element.text = name
        parsed = ET.fromstring(ET.tostring(element, encoding="unicode"))
        assert parsed.get("name") == parsed.text == name


@given(st.lists(texts, max_size=6))
def test_label_map_has_one_line_of_four_fields_per_class(names: list[str]) -> None:
    for name in label_map_names(tuple(names)):
        assert ":" not in name
        assert not name.startswith("#")
        assert name == name.strip()
        assert len(name.splitlines()) == 1
        assert name != "background"


def test_plain_names_are_unchanged(tmp_path: Path) -> None:
    names = ("road", "sign_symbol", "地面", "a & b")
    assert make_unique(names) == xml_safe(names) == label_map_names(names) == names
