"""Names of files and of classes: whatever they are made of, they are safe, and no two are the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.export.cvat_mask import label_map_names
from masksift.review.export.file_names import MAX_PART_BYTES, FileNames, make_unique, xml_safe

texts = st.text(max_size=30)
awkward = st.one_of(
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
def test_an_id_is_the_path_of_its_picture_as_far_as_that_is_safe(image_id: str, name: str) -> None:
    assert FileNames().name(image_id) == name


def test_ids_that_would_be_one_file_are_told_apart() -> None:
    names = FileNames()
    assert [names.name(text) for text in ("a", "a.jpg", "A", "a_2", "a/b", "a b")] == [
        "a",
        "a_2",
        "A_3",
        "a_2_2",
        "a/b",
        "a_b",
    ]


@given(st.lists(awkward, max_size=8))
def test_whatever_the_ids_the_files_lie_below_the_folder_and_apart(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    names, folder = FileNames(), tmp_path_factory.mktemp("names")
    found = [names.name(text) for text in ids]
    assert len({name.casefold() for name in found}) == len(ids)
    for number, name in enumerate(found):
        place = folder / f"{name}.png"
        assert folder in place.resolve().parents
        assert all(len(part.encode()) <= MAX_PART_BYTES + 20 for part in name.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(number))
    assert [(folder / f"{name}.png").read_text() for name in found] == [str(number) for number in range(len(ids))]


@given(st.lists(texts, max_size=6))
def test_names_of_classes_are_never_empty_and_never_the_same(names: list[str]) -> None:
    for told in (make_unique(names), xml_safe(names), label_map_names(tuple(names))):
        assert len(set(told)) == len(told) == len(names)
        assert all(told)


@given(st.lists(texts, min_size=1, max_size=6))
def test_xml_brings_back_what_it_is_given(names: list[str]) -> None:
    for name in xml_safe(names):
        element = ET.Element("x", name=name)
        element.text = name
        again = ET.fromstring(ET.tostring(element, encoding="unicode"))
        assert again.get("name") == again.text == name


@given(st.lists(texts, max_size=6))
def test_a_label_map_has_a_line_of_four_parts_a_class(names: list[str]) -> None:
    for name in label_map_names(tuple(names)):
        assert ":" not in name
        assert not name.startswith("#")
        assert name == name.strip()
        assert len(name.splitlines()) == 1
        assert name != "background"


def test_plain_names_stay_as_they_are(tmp_path: Path) -> None:
    names = ("road", "sign_symbol", "地面", "a & b")
    assert make_unique(names) == xml_safe(names) == label_map_names(names) == names
