"""Open sources that hold evidence instead of predictions, as written during inference."""

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
from masksift.storage.sources.validate import validate_class_colors
from masksift.storage.urls import join, local_path

EVIDENCE_ATTRIBUTE = "masksift"
"""Group attribute that marks such a source. It holds what its writers knew of it."""


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
    """Open a source that holds evidence.

    Args:
        group: The opened group.
        url: Its URL.
        classes: Class names of the configuration.
        ignore: Ignore values of the configuration.
        options: Storage options of S3.
        index: Number of the source in the run.
        name: Name of the source in the run; derived from the URL by default.

    Returns:
        The source.

    Raises:
        DataError: Blocks are missing, or class names or ignore values differ from those of the writers.
    """
    attribute: Any = group.attrs[EVIDENCE_ATTRIBUTE]
    spec = _relocate(attribute, url)
    arrays = {
        array: ArraySpec(join(spec.labels.url.rsplit("/", 1)[0], array), (spec.images,), (1,), dtype, 1, (0,))
        for array, dtype in (("image_id", "object"), ("height", "int32"), ("width", "int32"))
        if array in group
    }
    sizes = (arrays.get("height"), arrays.get("width"))
    spec = replace(spec, image_id=arrays.get("image_id"), size_arrays=sizes)
    if ignore is not None and tuple(sorted(set(ignore))) != spec.ignore:
        raise DataError(
            f"The evidence of {url} was written with ignore values {list(spec.ignore)}, but --ignore is {list(ignore)}",
            "Its pixels are already counted",
            "Omit --ignore, or write the evidence again",
        )
    if classes is not None and len(classes) != spec.classes:
        raise DataError(
            f"{url} has {spec.classes} classes, but {len(classes)} names are given",
            "Pass one name per class: --classes a,b,c",
        )
    block = attribute["layout"]["block_images"]
    blocks = -(-spec.images // block)
    missing = Manifest(ObjectDirectory(url, options), attribute["fingerprint"]).missing("condense", range(blocks))
    if missing:
        first = missing[0] * block
        raise DataError(
            f"{url} is incomplete: {len(missing)} of {blocks} blocks are missing (the first: images {first} to "
            f"{min(spec.images, first + block) - 1})",
            "Let its writers finish; each resumes where it stopped (EvidenceWriter.next_image)",
        )
    hashes = {"content": content_hash([spec.labels], options)}
    return replace(
        spec,
        index=index,
        name=name or spec.name,
        class_names=classes or spec.class_names,
        class_colors=validate_class_colors(f"class_colors of {url}", group.attrs.get("class_colors"), spec.classes),
        content_hashes=hashes,
    )


def _relocate(attribute: Mapping[str, Any], url: str) -> SourceSpec:
    """Return the source as described by its writers, at its current URL.

    No stored URL is used: with the credentials of the reader it could lead to other data.
    """
    place = local_path(url) or url.rstrip("/")
    spec = SourceSpec.from_json(attribute["spec"])
    location = {"out": place, "fingerprint": attribute["fingerprint"], "first_block": 0, "evidence_url": place}
    return replace(
        spec,
        url=url,
        image_id=None,
        size_arrays=(None, None),
        members=(),
        labels=replace(spec.labels, url=join(place, "labels")),
        predictions=replace(spec.predictions, url=join(place, "predictions")),
        name=source_names([url])[0],
        partitions=parse_partitions(url),
        stored_evidence={"location": location, **{key: attribute[key] for key in ("layout", "lattice", "masksift")}},
    )
