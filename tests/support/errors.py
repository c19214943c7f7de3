"""Checks of the errors that users see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from masksift.core.errors import MasksiftError

__all__ = ["assert_sentences", "raises"]


@contextmanager
def raises(error_type: type[MasksiftError], match: str) -> Iterator[None]:
    """Expect an error of masksift with complete parts and readable text."""
    with pytest.raises(error_type, match=match) as caught:
        yield
    assert len(caught.value.args) in (2, 3)
    assert_sentences(str(caught.value))


def assert_sentences(message: str) -> None:
    """Check that a message is at least two sentences without Python jargon or doubled punctuation."""
    assert re.fullmatch(r"(?s).+[.?!] .+[.?!]", message), message
    assert not re.search(r"[?!.,;:][.]|[.]{2}| $|  |\bNone\b|<class|object at|Traceback|\[\]|\bb'", message), message
