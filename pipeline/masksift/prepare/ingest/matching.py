"""Match labels with predictions by file name.

A file's name is its path below its directory, without extension, in the Unicode form NFC: macOS writes `ü` as two
characters, and names that differ in nothing else belong together. Four comparisons are tried. The one that matches most
files holds for all of them (among equals, the first):

1. by path;
2. by path, without the suffix that all names of a side share: whole parts between `_`, `-`, `.` and `/`, none of them
   only digits (`_L`, `_gtFine_labelIds`, `/pred`, but not `_000019`);
3. by file name, in any directory;
4. by file name, without such a suffix.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from masksift.core.errors import DataError

_SUFFIX = re.compile(r"([_\-./](?!\d+(?:[_\-./]|$))[^_\-./]+)+$")


@dataclass(frozen=True)
class Matching:
    """Matched files of two sides."""

    pairs: tuple[tuple[int, int], ...]  # indices into both sides, in the order of the first
    unmatched: tuple[tuple[int, ...], tuple[int, ...]]  # indices without a partner, for each side
    names: tuple[str, ...]  # image ids of the first side
    rule: str


def stem(path: str, suffixes: Sequence[str] = ()) -> str:
    """Remove the extension from a path in NFC, and the first of ``suffixes`` that it ends with."""
    name = re.sub(r"\.[^./]+$", "", unicodedata.normalize("NFC", path))
    return next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix)), name)


def common_suffix(names: Sequence[str]) -> str:
    """Return the suffix of whole parts that all names share, "" for a single name.

    >>> common_suffix(["a_000019_gtFine_labelIds", "b_000019_gtFine_labelIds"])
    '_gtFine_labelIds'
    """
    if len(names) < 2:
        return ""
    # first and last of the sorted names share what all of them share
    first, last = min(reverse := [name[::-1] for name in names]), max(reverse)
    length = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    match_ = _SUFFIX.search(first[:length][::-1])
    return match_[0] if match_ else ""


def match(labels: Sequence[str], others: Sequence[str], sides: tuple[str, str]) -> Matching:
    """Match two sides by file name; DataError if no names match or one repeats. ``sides``: nouns for messages."""
    paths = (tuple(labels), tuple(others))
    files = tuple(tuple(name.rsplit("/", 1)[-1] for name in side) for side in paths)
    candidates = []
    for rule, names in (("by path", paths), ("by file name", files)):
        suffixes = tuple(common_suffix(side) for side in names)
        short = tuple(
            tuple(name.removesuffix(suffix) for name in side) for side, suffix in zip(names, suffixes, strict=True)
        )
        removed = [f"{suffix!r} of the {side}" for side, suffix in zip(sides, suffixes, strict=True) if suffix]
        candidates += [(rule, names), (f"{rule}, without {' and '.join(removed)}", short)]
    rule, (left, right) = max(candidates, key=lambda candidate: len(set(candidate[1][0]) & set(candidate[1][1])))
    common = set(left) & set(right)
    if not common:
        raise DataError(
            f"The {sides[0]} and the {sides[1]} have no file name in common (the first are {labels[0]} and "
            f"{others[0]})",
            "Use the same names, or locations that hold the same images",
        )
    positions: list[dict[str, int]] = []
    for side, keys, all_names in zip(sides, (left, right), paths, strict=True):
        seen: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key in common and seen.setdefault(key, i) != i:
                one, other = all_names[seen[key]], all_names[i]
                listed = "extension and Unicode form do not count" if one == other else f"{one} and {other}"
                raise DataError(
                    f"Two of the {side} are named {key!r}: {listed}",
                    "Use a directory or a glob that holds one of them",
                )
        positions.append(seen)
    partners = [positions[1].get(key) for key in left]
    return Matching(
        tuple((i, partner) for i, partner in enumerate(partners) if partner is not None),
        (
            tuple(i for i, partner in enumerate(partners) if partner is None),
            tuple(i for i, key in enumerate(right) if key not in common),
        ),
        left if rule.startswith("by path") else paths[0],
        rule,
    )
