"""Which label belongs to which prediction: by name, by a rule that can be told in a sentence.

A file is called by its path below its folder, without its extension. Four ways of comparing are tried, and the one by
which most files find each other holds for all of them (the first of those by which equally many do):

1. as they are called;
2. without the ending that all names of a side share: whole parts between `_`, `-`, `.` and `/`, none of them digits
   alone (`_L`, `_gtFine_labelIds`, `/pred`, but no `_000019`);
3. by file name, whatever the folder; 4. by file name, without such an ending.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from masksift.core.errors import DataError

_ENDING = re.compile(r"([_\-./](?!\d+(?:[_\-./]|$))[^_\-./]+)+$")


@dataclass(frozen=True)
class Matching:
    """``pairs``: places in both sides, in the order of the first; ``alone``: places without a partner, a side each;
    ``names``: what the first side's are called; ``rule``: how they were compared, in words."""

    pairs: tuple[tuple[int, int], ...]
    alone: tuple[tuple[int, ...], tuple[int, ...]]
    names: tuple[str, ...]
    rule: str


def stem(path: str, endings: Sequence[str] = ()) -> str:
    """A path without its extension, and without the first of ``endings`` that it has."""
    name = re.sub(r"\.[^./]+$", "", path)
    return next((name.removesuffix(ending) for ending in endings if name.endswith(ending)), name)


def common_ending(names: Sequence[str]) -> str:
    """The ending that all names share, in whole parts; none where there is one name alone.

    >>> common_ending(["a_000019_gtFine_labelIds", "b_000019_gtFine_labelIds"])
    '_gtFine_labelIds'
    """
    if len(names) < 2:
        return ""
    first, last = min(turned := [name[::-1] for name in names]), max(turned)  # what these share, all of them do
    length = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    found = _ENDING.search(first[:length][::-1])
    return found[0] if found else ""


def match(labels: Sequence[str], others: Sequence[str], what: tuple[str, str]) -> Matching:
    """Match two sides by the names of their files. ``what``: each side in words, for messages.

    Raises DataError where no two of them are alike, or where two of one side are called the same.
    """
    sides = (tuple(labels), tuple(others))
    files = tuple(tuple(name.rsplit("/", 1)[-1] for name in side) for side in sides)
    ways = []
    for rule, named in (("by path", sides), ("by file name", files)):
        endings = tuple(common_ending(side) for side in named)
        cut = tuple(
            tuple(name.removesuffix(ending) for name in side) for side, ending in zip(named, endings, strict=True)
        )
        told = " and ".join(f"{ending!r} of the {side}" for side, ending in zip(what, endings, strict=True) if ending)
        ways += [(rule, named), (f"{rule}, without {told}", cut)]
    rule, (left, right) = max(ways, key=lambda way: len(set(way[1][0]) & set(way[1][1])))
    alike = set(left) & set(right)
    if not alike:
        raise DataError(
            f"no file of the {what[0]} is called like one of the {what[1]} (the first are {labels[0]} and {others[0]})",
            "which belongs to which is not known",
            "Name them alike, or give places that hold the same images",
        )
    places = []
    for side, keys, names in zip(what, (left, right), sides, strict=True):
        found: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key in alike and found.setdefault(key, i) != i:
                raise DataError(
                    f"two of the {side} are called {key!r}: {names[found[key]]} and {names[i]}",
                    "which of them is meant is not known",
                    "Give a folder or a glob that holds one of them",
                )
        places.append(found)
    partners = [places[1].get(key) for key in left]
    alone = tuple(i for i, key in enumerate(right) if key not in alike)
    return Matching(
        tuple((i, partner) for i, partner in enumerate(partners) if partner is not None),
        (tuple(i for i, partner in enumerate(partners) if partner is None), alone),
        left if rule.startswith("by path") else sides[0],
        rule,
    )
