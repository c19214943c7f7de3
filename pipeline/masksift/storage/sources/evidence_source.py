"""Sources that hold evidence in place of predictions, as writers at inference time leave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import zarr

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.fingerprint import content_hash
from masksift.storage.sources.naming import parse_partitions, source_names
from masksift.storage.urls import join, local_path

EVIDENCE_ATTRIBUTE = "masksift"
"""The attribute of the group by which such a source is known: what its writers knew of it, as plain values."""


def open_evidence_source(
    group: zarr.Group,
    url: str,
    classes: tuple[str, ...] | None,
    ignore: tuple[int, ...] | None,
    options: Mapping[str, Any],
    *,
    index: int,
    name: str | None,
) -> SourceSpec:
    """Open a source that holds evidence. Raises DataError where a part of it was never written, or was written with
    other ignore values than the configuration has."""
    tree: Any = group.attrs[EVIDENCE_ATTRIBUTE]
    spec = _here(tree, url)
    if "image_id" in group:
        ids = ArraySpec(join(spec.labels.url.rsplit("/", 1)[0], "image_id"), (spec.images,), (1,), "object", 1, (0,))
        spec = replace(spec, image_id=ids)
    if ignore is not None and tuple(sorted(set(ignore))) != spec.ignore:
        raise DataError(
            f"the evidence of {url} was written with the ignore values {list(spec.ignore)}, --ignore is {list(ignore)}",
            "its pixels are counted already",
            "Leave --ignore out, or write it again",
        )
    if classes is not None and len(classes) != spec.classes:
        raise DataError(
            f"{url} has {spec.classes} classes and {len(classes)} are named",
            "which is which is not known",
            "Give one name a class: --classes a,b,c",
        )
    block = tree["layout"]["block_images"]
    blocks = -(-spec.images // block)
    missing = Manifest(ObjectDirectory(url, options), tree["fingerprint"]).missing("condense", range(blocks))
    if missing:
        first = missing[0] * block
        raise DataError(
            f"{url} is half written: {len(missing)} of {blocks} blocks are missing (the first: images {first} to "
            f"{min(spec.images, first + block) - 1})",
            "what is not there cannot be scored",
            "Let its writers finish: each goes on where it stopped (EvidenceWriter.next_image)",
        )
    facts = {"content": content_hash([spec.labels], options)}
    return replace(
        spec, index=index, name=name or spec.name, class_names=classes or spec.class_names, content_hashes=facts
    )


def _here(tree: Mapping[str, Any], url: str) -> SourceSpec:
    """The facts of a source as its writers left them, at the place where it lies now."""
    place = local_path(url) or url.rstrip("/")
    spec = SourceSpec.from_json(tree["spec"])

    location = {"out": place, "fingerprint": tree["fingerprint"], "first_block": 0, "evidence_url": place}
    return replace(  # no address of theirs: with the keys of whoever reads, it would be another place's data
        spec,
        url=url,
        image_id=None,
        size_arrays=(None, None),
        members=(),
        labels=replace(spec.labels, url=join(place, "labels")),
        predictions=replace(spec.predictions, url=join(place, "predictions")),
        name=source_names([url])[0],
        partitions=parse_partitions(url),
        stored_evidence={"location": location, **{key: tree[key] for key in ("layout", "lattice", "masksift")}},
    )
