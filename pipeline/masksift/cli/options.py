"""Command-line options derived from the configuration models."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from masksift.config.sections import dotted_keys

_COMMON_KEYS = ("sources", "source", "labels", "predictions", "truth", "verdicts", "out", "methods", "rank_by", "top")
"""Keys that the help lists first."""

_GROUP_TITLES = {
    **dict.fromkeys(("softmin", "tccp", "clc", "coco"), "scoring method options"),
    **dict.fromkeys(("regions", "report", "evidence"), "result options"),
    **dict.fromkeys(("torch", "onnx"), "trainer options"),
    "arrays": "array options",
    "executor": "executor options",
    "storage": "storage options (S3, Azure, Google Cloud Storage)",
    "iceberg": "Iceberg options (with --table iceberg)",
}
"""Heading of the options of each configuration section."""

_METAVARS = {
    **dict.fromkeys(("sources", "source", "run", "out", "base", "thresholds_from", "labels_from", "images_at"), "URL"),
    **dict.fromkeys(("storage.endpoint_url", "iceberg.warehouse", "exported"), "URL"),
    **dict.fromkeys(("labels", "predictions", "images"), "PATH"),
    **dict.fromkeys(("ids", "colors", "verdicts", "executor.manifest", "executor.performance_report"), "FILE"),
    **dict.fromkeys(("rank_by", "by"), "METHOD"),
    **dict.fromkeys(("max_quarantined", "max_flagged"), "N|PERCENT"),
    "model": "MODEL",
    "sample": "N|all",
    "truth": "URL,...",
    "methods": "METHOD,...",
    "classes": "CLASS,...|FILE",
    "background": "CLASS",
    "kinds": "ERROR,...",
    "window": "ROWS[xCOLUMNS]",
    "picture_range": "LOW,HIGH",
    "slice_axis": "AXIS",
    "remap": "VALUE:CLASS,...",
    "at": "N|PERCENT|errors,...",
    "max_drop_in_class_quality": "PERCENT",
    "axes": "AXIS,...",
    "arrays.predictions": "NAME,...",
    "arrays.predictions_axes": "AXIS,...",
    "arrays.labels_axes": "AXIS,...",
    "group_pattern": "REGEX",
    "executor.kind": "KIND",
    "executor.memory": "BYTES",
    "executor.address": "ADDRESS",
    **dict.fromkeys(("executor.options", "executor.resources"), "TABLE"),
    "executor.timeout": "SECONDS",
    "iceberg.catalog": "NAME|URI",
}
"""Metavars of keys whose type does not tell them."""


def add_model_options(
    parser: argparse.ArgumentParser,
    model: type[BaseModel],
    positional: Collection[str] = (),
    only: Collection[str] = (),
    exclude: Collection[str] = (),
    short_flags: Mapping[str, str] | None = None,
) -> None:
    """Add a flag for every key of a model, each section in its own group.

    Args:
        parser: Parser of a command.
        model: Configuration of the command.
        positional: Keys that are positional arguments, in order.
        only: Keys or sections to add; all if empty.
        exclude: Keys that the caller adds.
        short_flags: One-letter flags by key.
    """
    for key in positional:
        parser.add_argument(key, metavar=key.upper(), help=model.model_fields[key].description)
    groups: dict[str, Any] = {}
    keys = dotted_keys(model)
    for key in sorted(keys, key=_position):
        section = key.rpartition(".")[0]
        if key in (*positional, *exclude) or (only and not {key, section} & set(only)):
            continue
        title = _GROUP_TITLES.get(section, f"{section} options") if section else ""
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_option(groups[title] if title else parser, key, keys[key], (short_flags or {}).get(key))


def _position(key: str) -> int:
    """Sort common keys first, then other top-level keys, then the sections."""
    section = key.rpartition(".")[0]
    order = [*_COMMON_KEYS, "", *_GROUP_TITLES]
    name = section or (key if key in _COMMON_KEYS else "")
    return order.index(name) if name in order else len(order)


def _add_option(group: Any, key: str, field: FieldInfo, short_flag: str | None) -> None:
    flags = [f"--{key.replace('_', '-')}", f"--{key}"]
    options: dict[str, Any] = {}
    if key == "sources":
        flags, options = ["--source", "--sources"], {"action": "append"}
    elif key == "executor.kind":
        group.add_argument(
            "--executor",
            metavar="KIND[:WHERE]",
            default=argparse.SUPPRESS,
            help="short form of KIND: auto, serial, local, dask:tls://HOST:8786, kubernetes:CLUSTER.yaml or a class",
        )
    elif key in ("executor.address", "executor.performance_report"):
        name = key.rpartition(".")[2]
        flags += [f"--{name.replace('_', '-')}", f"--{name}"]
    if field.annotation is bool and not field.default:
        options = {"nargs": "?", "const": "true"}  # `--pad` alone means true
    group.add_argument(
        *dict.fromkeys([short_flag, *flags] if short_flag else flags),
        dest=key,
        metavar=_METAVARS.get(key) or "|".join(dict.fromkeys(_type_metavars(field.annotation, field.metadata))),
        default=argparse.SUPPRESS,
        help=_help_text(field),
        **options,
    )
    if key == "label_offset":
        alias = {"action": "store_const", "const": "1", "dest": key, "default": argparse.SUPPRESS}
        group.add_argument("--reduce-zero-label", "--reduce_zero_label", help="the same as --label-offset 1", **alias)


def _help_text(field: FieldInfo) -> str:
    text = (field.description or "").replace("%%", "%")
    if field.is_required():
        text += " (required)"
    elif field.default not in (None, ()) and field.default is not False and "default:" not in text:
        value = field.default
        items = value if isinstance(value, tuple) else (str(value).lower() if value is True else value,)
        text += f" (default: {','.join(f'{item:g}' if isinstance(item, float) else str(item) for item in items)})"
    return text.replace("%", "%%")


def _type_metavars(annotation: Any, metadata: Collection[Any] = ()) -> Iterator[str]:
    """Yield a metavar for each alternative of a type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        constraints = [item for extra in args[1:] for item in getattr(extra, "metadata", [extra])]
        yield from _type_metavars(args[0], constraints)
    elif origin in (Union, UnionType):
        for alternative in args:
            if alternative is not NoneType:
                yield from _type_metavars(alternative, metadata)
    elif origin is Literal:
        yield f"{{{','.join(args)}}}"
    elif origin is tuple:
        yield f"{next(_type_metavars(args[0]))},..."
    elif annotation is float and any(getattr(item, "le", None) == 1 for item in metadata):
        yield "FRACTION"
    else:
        yield {bool: "{true,false}", int: "N", float: "NUMBER"}.get(annotation, "NAME")
