"""Lists of images: ids in any Unicode form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from masksift.core.errors import DataError
from masksift.storage.tables.image_lists import ImageTable, image_list_from_keys, read_image_list
from support.errors import raises

COMPOSED, DECOMPOSED = "straße/müll", "straße/mu\u0308ll"


def table(*ids: str) -> ImageTable:
    rows = pa.table({"image_id": list(ids), "source": ["a"] * len(ids), "index": range(len(ids))})
    return ImageTable(rows, np.ones(len(ids), bool), {})


@pytest.mark.parametrize(("stored", "listed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_listed_image_is_found_whatever_the_unicode_form(tmp_path: Path, stored: str, listed: str) -> None:
    images = table("a", stored, "b")
    assert images.find(image_list_from_keys([listed], by_place=False))[0].tolist() == [-1, 0, -1]
    (tmp_path / "wrong.csv").write_text(f"image_id\n{listed}\nb\ngone\n", encoding="utf-8")
    entries, unknown = images.find(read_image_list(str(tmp_path / "wrong.csv"), "image_id", {}))
    assert (entries.tolist(), unknown) == ([-1, 0, 1], ["gone"])


def test_two_shares_of_one_image_in_two_unicode_forms_are_refused(tmp_path: Path) -> None:
    rows = f"image_id,changed_share\n{COMPOSED},0.5\n{DECOMPOSED},0.25\n"
    (tmp_path / "wrong.csv").write_text(rows, encoding="utf-8")
    with raises(DataError, r"wrong.csv has 2 rows of 1 images\. The changed_share of an image is ambiguous"):
        read_image_list(str(tmp_path / "wrong.csv"), "image_id", {})
