"""Join the images of two runs in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from masksift.core.status import SCORED
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.duckdb_connection import duckdb_connection, quote_identifier
from masksift.storage.tables.parquet import iter_tables

_UNIT = 53
"""Scores are summed as integers in units of 2^-53, so that a mean has equal bits in any order."""
_SCORED = f"old_status = '{SCORED}' AND new_status = '{SCORED}'"
_IDENTITY = 'image_id, source, "index"'

Row = dict[str, Any]


def iter_image_rows(
    directory: ObjectDirectory, ranking: Sequence[str], images: Sequence[str], methods: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the images of a run: first the ranked images, then the images without a score."""
    schema = _schema(methods)
    identity = ["image_id", "source", "index"]
    for table in iter_tables(directory, ranking, [*identity, "rank", "percentile", *methods]):
        yield _fill_missing(table, schema, status=pa.repeat(SCORED, len(table)))
    for table in iter_tables(directory, images, [*identity, "status", "reason"]):
        unscored = table.filter(pc.not_equal(table["status"], SCORED))
        if len(unscored):
            yield _fill_missing(unscored, schema)


def _schema(methods: Sequence[str]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("image_id", pa.string()),
            pa.field("source", pa.string()),
            pa.field("index", pa.int64()),
            pa.field("status", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("rank", pa.int64()),
            pa.field("percentile", pa.float64()),
            *(pa.field(f"score {name}", pa.float64()) for name in methods),
        ]
    )


def _fill_missing(table: pa.Table, schema: pa.Schema, **more: Any) -> pa.Table:
    """Return a table of the schema, with nulls for missing columns."""
    known = {name: table[name] for name in table.column_names} | more

    def values(field: pa.Field) -> Any:
        column = known.get(field.name.removeprefix("score "))
        return pa.nulls(len(table), field.type) if column is None else column

    return pa.table([values(field) for field in schema], schema=schema)


class JoinedImages:
    """Images of two runs, one row per image. Columns of a run without the image are null."""

    def __init__(self, connection: Any, methods: Sequence[str]) -> None:
        self._connection, self._methods = connection, methods

    def counts(self) -> dict[str, int]:
        """Count images in both runs, in one only, scored in both or in one only, and images with two ids."""
        conditions = {
            "both": "old_status IS NOT NULL AND new_status IS NOT NULL",
            "only_old": "new_status IS NULL",
            "only_new": "old_status IS NULL",
            "scored_in_both": _SCORED,
            "quarantined_in_old": _quarantined_condition("old"),
            "quarantined_in_new": _quarantined_condition("new"),
            "renamed": "nfc_normalize(old_id) <> nfc_normalize(new_id)",
        }
        columns = ", ".join(f"count(*) FILTER ({condition}) AS {name}" for name, condition in conditions.items())
        return self._rows(f"SELECT {columns} FROM pairs")[0]

    def scores(self) -> list[Row]:
        """Return for each score the images with both values, how many rose and fell, and both means."""
        return [self._compare_score(name) for name in self._methods]

    def _compare_score(self, name: str) -> Row:
        old, new = (quote_identifier(f"{side} score {name}") for side in ("old", "new"))
        sums = ", ".join(
            f"sum(CAST({value} * {2**_UNIT}::DOUBLE AS BIGINT)) AS {side}"
            for side, value in (("old_sum", old), ("new_sum", new))
        )
        (row,) = self._rows(
            f"SELECT count(*) AS images, count(*) FILTER ({new} > {old}) AS rose, count(*) FILTER ({new} < {old}) AS "
            f"fell, {sums} FROM pairs WHERE isfinite({old}) AND isfinite({new})"
        )
        means = {side: _mean(row[f"{side}_sum"], row["images"]) for side in ("old", "new")}
        return {"method": name, "images": row["images"], "rose": row["rose"], "fell": row["fell"], **means}

    def most_changed(self, by: str, score: str | None, top: int, *, up: bool) -> list[Row]:
        """Return the images that changed most in one direction.

        Args:
            by: "rank" for the percentile of the ranking, or a score.
            score: Score that is returned with each image.
            top: Largest number of images.
            up: Direction of the change.

        Returns:
            The images, largest change first.
        """
        old, new = ("old_percentile", "new_percentile") if by == "rank" else _score_columns(by)
        before, after = ("NULL", "NULL") if score is None else _score_columns(score)
        order, sign = ("DESC", ">") if up else ("ASC", "<")
        return self._rows(
            f"SELECT {_IDENTITY}, old_rank, new_rank, old_percentile, new_percentile, {before} AS old_score, "
            f"{after} AS new_score, {new} - {old} AS change FROM pairs WHERE {_SCORED} AND {new} {sign} {old} "
            f'ORDER BY change {order}, source, "index" LIMIT {int(top)}'
        )

    def only_in(self, side: str, top: int) -> list[Row]:
        """Return the first images that only one run ("old" or "new") contains."""
        other = {"old": "new", "new": "old"}[side]
        return self._rows(
            f"SELECT {_IDENTITY}, {side}_status AS status FROM pairs WHERE {other}_status IS NULL "
            f'ORDER BY source, "index" LIMIT {int(top)}'
        )

    def quarantined_in(self, side: str, top: int) -> list[Row]:
        """Return the first images that only the other run scored, with the reason."""
        return self._rows(
            f"SELECT {_IDENTITY}, {side}_status AS status, {side}_reason AS reason FROM pairs "
            f'WHERE {_quarantined_condition(side)} ORDER BY source, "index" LIMIT {int(top)}'
        )

    def duplicate_ids(self) -> tuple[int, list[str]]:
        """Return how many ids are not unique in a run, and so match nothing, with the first of them."""
        (row,) = self._rows("SELECT count(*) AS ids FROM twice")
        return row["ids"], [one["id"] for one in self._rows("SELECT id FROM twice ORDER BY id LIMIT 3")]

    def _rows(self, query: str) -> list[Row]:
        rows: list[Row] = self._connection.sql(query).to_arrow_table().to_pylist()
        return rows


def _score_columns(score: str) -> tuple[str, str]:
    return quote_identifier(f"old score {score}"), quote_identifier(f"new score {score}")


def _quarantined_condition(side: str) -> str:
    other = {"old": "new", "new": "old"}[side]
    return f"{side}_status <> '{SCORED}' AND {other}_status = '{SCORED}'"


def _mean(total: int | None, count: int) -> float | None:
    return None if total is None else float(Fraction(int(total), count << _UNIT))


@contextmanager
def join_images(
    old: Iterable[pa.Table], new: Iterable[pa.Table], same: Collection[str], methods: Sequence[str]
) -> Iterator[JoinedImages]:
    """Pair the images of two runs in DuckDB tables, which may spill to a temporary directory.

    Args:
        old: Rows of the first run, as `iter_image_rows` yields them.
        new: Rows of the second run.
        same: Names of the sources whose images are paired by index. All other images are paired by id.
        methods: Names of the scores.

    Yields:
        The paired images, valid inside the context.
    """
    with duckdb_connection() as connection:
        connection.sql("SET preserve_insertion_order = false")  # it takes memory, and every query has an ORDER BY
        connection.register("same", pa.table({"source": pa.array(sorted(same), pa.string())}))
        for side, tables in (("old", old), ("new", new)):
            reader = pa.RecordBatchReader.from_batches(
                _schema(methods), (batch for table in tables for batch in table.to_batches())
            )
            connection.register("incoming", reader)
            # the key is source and index for images of the same sources, else the id in one Unicode form
            connection.sql(
                f"CREATE TABLE {side} AS SELECT incoming.*, same.source IS NOT NULL AS placed, "
                "CASE WHEN placed THEN incoming.source ELSE '' END AS key_source, "
                'CASE WHEN placed THEN incoming."index" ELSE -1 END AS key_index, '
                "CASE WHEN placed THEN '' ELSE nfc_normalize(image_id) END AS key_id "
                "FROM incoming LEFT JOIN same ON incoming.source = same.source"
            )
            connection.unregister("incoming")
        connection.sql(
            "CREATE TABLE twice AS SELECT DISTINCT key_id AS id FROM ("
            + " UNION ALL ".join(
                f"SELECT key_id FROM {side} WHERE NOT placed GROUP BY key_id HAVING count(*) > 1"
                for side in ("old", "new")
            )
            + ")"
        )
        connection.sql(_pairing(methods))
        yield JoinedImages(connection, methods)


def _pairing(methods: Sequence[str]) -> str:
    names = ("status", "reason", "rank", "percentile")
    each = [f"{side}.{name} AS {side}_{name}" for side in ("old", "new") for name in names]
    each += [
        f"{side}.{quote_identifier(f'score {name}')} AS {quote_identifier(f'{side} score {name}')}"
        for side in ("old", "new")
        for name in methods
    ]
    one = ", ".join(f"coalesce(new.{name}, old.{name}) AS {name}" for name in ("image_id", "source", '"index"'))
    alone = "(SELECT * FROM {0} WHERE placed OR key_id NOT IN (SELECT id FROM twice)) AS {0}"
    return (
        f"CREATE TABLE pairs AS SELECT {one}, old.image_id AS old_id, new.image_id AS new_id, {', '.join(each)} "
        f"FROM {alone.format('old')} FULL JOIN {alone.format('new')} "
        "ON old.key_source = new.key_source AND old.key_index = new.key_index AND old.key_id = new.key_id"
    )
