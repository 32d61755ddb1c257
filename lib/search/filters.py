"""Filters: by the category and by any field of the metadata, all of which a document must pass.

A field is a key of the metadata's outermost object. ``category`` is the category column, where the
table has one; ``metadata.category`` is the key of that name. A field that holds a list passes where
one of its items does.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Numeric,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.store.collections import Collection
from lib.vectors.statements import is_category, sendable
from lib.vectors.table import VectorTable

CATEGORY = "category"
_METADATA_PREFIX = "metadata."
_MOST_VALUES = 1000
_FORMS = "FIELD=VALUE, FIELD=A,B, FIELD>=3, FIELD<=9 or FIELD"
# A text counts as a number where it is written as one. PostgreSQL's numeric has no room for any
# number of digits, and a filter must not fail at a row.
_NUMBER_IN_TEXT = r"^[+-]?\d{1,100}(\.\d{1,100})?$"

# Fields and values of metadata are learnt from so many rows.
SAMPLE_ROWS = 5000
MOST_FIELDS = 100
MOST_EXAMPLES = 50
_LONGEST_EXAMPLE_CHARACTERS = 100


class FilterOp(StrEnum):
    """How a field is compared."""

    EQUALS = "equals"
    IN = "in"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    EXISTS = "exists"

    @property
    def sign(self) -> str:
        """As it is written on the command line."""
        return {"equals": "=", "in": "=", "at_least": ">=", "at_most": "<=", "exists": ""}[self]


Value = str | int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition.

    value: EQUALS a text, IN a tuple of texts; "2019" finds the text and the number, "true" the
    text and the truth value. AT_LEAST and AT_MOST (both inclusive, two of them are a range): a
    number, which texts that are no numbers do not pass, or a text such as 2024-01-31, compared
    character by character with texts. EXISTS: None; a field that is null does not exist.

    Raises InvalidInput where the value does not fit.
    """

    field: str
    op: FilterOp
    value: Value = None

    def __post_init__(self) -> None:
        value, op = self.value, self.op
        if not self.field:
            raise InvalidInput("A filter needs the name of a field.", hint=f"{_FORMS}.")
        if op is FilterOp.IN:
            fits = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        elif op is FilterOp.EQUALS:
            fits = isinstance(value, str)
        elif op is FilterOp.EXISTS:
            fits = value is None
        else:
            fits = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not fits:
            raise _unusable(self.field, f"{value!r} is no value for “{op.value}”")
        if isinstance(value, float) and not math.isfinite(value):
            raise _unusable(self.field, "its bound is not a finite number")
        if isinstance(value, tuple) and not 1 <= len(value) <= _MOST_VALUES:
            raise _unusable(self.field, f"it has {len(value):,} values, outside 1–{_MOST_VALUES:,}")

    @classmethod
    def parse(cls, text: str) -> Filter:
        """:func:`parse_filter`. Raises InvalidInput."""
        return parse_filter(text)

    def __str__(self) -> str:
        """As :func:`parse_filter` reads it."""
        if self.value is None:
            return self.field
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        written = map(str, values) if self.op.sign != "=" else map(_quoted, map(str, values))
        return f"{self.field}{self.op.sign}{','.join(written)}"


def _quoted(value: str) -> str:
    if value and value[0] != " " and not set(value) & set(',"\r\n'):
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def _unusable(field: str, problem: str) -> InvalidInput:
    return InvalidInput(
        f"The filter on “{field}” cannot be used: {problem}.", hint=f"{_FORMS}.", field="filter"
    )


def parse_filter(text: str) -> Filter:
    """A filter as it is typed: ``FIELD=VALUE``, ``FIELD=A,B`` (any of these; a value with a comma
    stands in double quotes), ``FIELD>=3``, ``FIELD<=9``, and ``FIELD`` alone: it is there.

    Raises InvalidInput.
    """
    place = min((text.index(sign) for sign in (">=", "<=", "=") if sign in text), default=-1)
    if place < 0:
        return Filter(text.strip(), FilterOp.EXISTS)
    field, rest = text[:place].strip(), text[place:]
    if rest[0] != "=":
        bound = rest[2:].strip()
        op = FilterOp.AT_LEAST if rest[0] == ">" else FilterOp.AT_MOST
        if not bound:
            raise _unusable(field, f"nothing follows {op.sign}")
        number = _number(bound)
        return Filter(field, op, bound if number is None else number)
    try:
        rows = list(csv.reader([rest[1:]], skipinitialspace=True, strict=True))
    except csv.Error as exc:
        raise _unusable(field, f"its values cannot be read ({exc})") from None
    values = tuple(value for row in rows for value in row) or ("",)
    if len(values) == 1:
        return Filter(field, FilterOp.EQUALS, values[0])
    return Filter(field, FilterOp.IN, values)


def _number(text: str) -> int | float | None:
    """The number that a text is as JSON; None where it is something else."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


# --- as SQL -------------------------------------------------------------------------------------


def conditions(table: VectorTable, filters: Sequence[Filter]) -> list[ColumnElement[bool]]:
    """One condition a filter, over the table's rows; values are parameters throughout.

    Raises InvalidInput where the table lacks the column that is asked for.
    """
    return [_condition(table, each) for each in filters]


def _condition(table: VectorTable, wanted: Filter) -> ColumnElement[bool]:
    if wanted.field == CATEGORY and table.category is not None:
        return _category_condition(table, wanted)
    if table.metadata is None:
        raise InvalidInput(
            f"The table {table.qualified_name} has no metadata column, so “{wanted.field}” cannot "
            "be filtered by.",
            hint="Name one when you attach the table.",
            field="filter",
        )
    field = _as_stored(wanted.field.removeprefix(_METADATA_PREFIX))
    metadata = table.column(table.metadata)
    values = (wanted.value,) if isinstance(wanted.value, str) else wanted.value
    match wanted.op:
        case FilterOp.EQUALS | FilterOp.IN:
            assert isinstance(values, tuple)
            # Containment is what a GIN index on the metadata answers; a list is told apart from
            # its item there.
            return or_(
                *(
                    metadata.contains(cast(_bound(json.dumps({field: form}), Text()), JSONB))
                    for value in map(_as_stored, values)
                    for item in _as_json(value)
                    for form in (item, [item])
                )
            )
        case FilterOp.EXISTS:
            value = metadata[_bound(field, Text())]
            return func.coalesce(func.jsonb_typeof(value), "null") != literal_column("'null'")
        case _:
            return _within(metadata[_bound(field, Text())], wanted)


def _category_condition(table: VectorTable, wanted: Filter) -> ColumnElement[bool]:
    assert table.category is not None
    column = table.column(table.category)
    match wanted.op:
        case FilterOp.EQUALS:
            return is_category(table, str(wanted.value))
        case FilterOp.IN:
            assert isinstance(wanted.value, tuple)
            return or_(*(is_category(table, value) for value in wanted.value))
        case FilterOp.EXISTS:
            return column.is_not(None)
        case _:
            raise _unusable(wanted.field, "a category is a word, with no more and no less")


def _within(value: ColumnElement[Any], wanted: Filter) -> ColumnElement[bool]:
    items = _items(value)
    item = items.c.item
    kind = func.jsonb_typeof(item)
    as_text = item.op("#>>", return_type=Text())(literal_column("'{}'::text[]"))
    is_text = kind == literal_column("'string'")
    if isinstance(wanted.value, str):
        found: ColumnElement[Any] = as_text.collate("C")
        bound = _bound(_as_stored(wanted.value), Text())
        passes = and_(is_text, found >= bound if _is_low(wanted) else found <= bound)
    else:
        # CASE looks at a row's kind before it casts: a text never meets the cast.
        number = case(
            (kind == literal_column("'number'"), cast(as_text, Numeric)),
            (
                and_(is_text, as_text.op("~")(literal_column(f"'{_NUMBER_IN_TEXT}'"))),
                cast(as_text, Numeric),
            ),
        )
        bound = _bound(Decimal(repr(wanted.value)), Numeric())
        passes = number >= bound if _is_low(wanted) else number <= bound
    return exists(select(literal_column("1")).select_from(items).where(passes))


def _items(value: ColumnElement[Any]) -> TableValuedAlias:
    """A row for each item of a list, one for anything else: jsonpath's lax mode."""
    items = func.jsonb_path_query(value, literal_column("'$[*]'::jsonpath"))
    return items.table_valued(column("item", JSONB())).render_derived("items")


def _is_low(wanted: Filter) -> bool:
    return wanted.op is FilterOp.AT_LEAST


def _as_json(value: str) -> Iterator[str | int | float | bool]:
    """What a typed value may be in the metadata: the text, and the number or truth value that it
    spells."""
    yield value
    number = _number(value)
    if number is not None:
        yield number
    if value in {"true", "false"}:
        yield value == "true"


def _bound(value: Any, kind: Any) -> ColumnElement[Any]:
    """unique: several filters in one statement must not share their values."""
    return bindparam("filter", value, type_=kind, unique=True)


def _as_stored(typed: str) -> str:
    return unicodedata.normalize("NFC", sendable(typed))


# --- what there is to filter by -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """What a sample of the documents has in one field of the metadata.

    kinds: of string, number, boolean. documents: how many of the sample have it. distinct: how
    many different values, of a list its items. examples: the most frequent ones as texts, all of
    them where there are no more than MOST_EXAMPLES and none is long. low, high: of its numbers.
    """

    name: str
    kinds: tuple[str, ...]
    documents: int
    distinct: int
    examples: tuple[str, ...]
    low: float | None
    high: float | None

    @property
    def filter_field(self) -> str:
        """The field's name in a :class:`Filter`."""
        is_taken = self.name == CATEGORY or self.name.startswith(_METADATA_PREFIX)
        return f"{_METADATA_PREFIX}{self.name}" if is_taken else self.name


async def list_fields(db: AsyncSession, collection: Collection) -> list[FieldFacts]:
    """The metadata's fields, those that the most documents have first, as SAMPLE_ROWS of the
    documents have them; nested objects are left out."""
    table = collection.table
    if table.metadata is None:
        return []
    sample = (
        select(table.column(table.id).label("id"), table.column(table.metadata).label("metadata"))
        .order_by(table.column(table.id))
        .limit(SAMPLE_ROWS)
        .cte("sample")
    )
    fields = (
        func.jsonb_each(sample.c.metadata)
        .table_valued(column("key", Text()), column("value", JSONB()))
        .render_derived("fields")
    )
    items = _items(fields.c.value)
    item = items.c.item
    counted = (
        select(
            fields.c.key,
            item.label("item"),
            func.jsonb_typeof(item).label("kind"),
            func.count().label("times"),
            func.row_number()
            .over(partition_by=fields.c.key, order_by=(func.count().desc(), item))
            .label("place"),
        )
        .select_from(sample.join(fields, true()).join(items, true()))
        .where(func.jsonb_typeof(item).in_(["string", "number", "boolean"]))
        .group_by(fields.c.key, item)
        .cte("counted")
    )
    having = (
        select(fields.c.key, func.count().label("documents"))
        .select_from(sample.join(fields, true()))
        .where(func.jsonb_typeof(fields.c.value) != "null")
        .group_by(fields.c.key)
        .cte("having_it")
    )
    as_text = counted.c.item.op("#>>", return_type=Text())(literal_column("'{}'::text[]"))
    number = case((counted.c.kind == "number", cast(as_text, Numeric)))
    is_example = and_(
        counted.c.place <= MOST_EXAMPLES, func.length(as_text) <= _LONGEST_EXAMPLE_CHARACTERS
    )
    rows = await db.execute(
        select(
            counted.c.key,
            func.array_agg(counted.c.kind.distinct()).label("kinds"),
            func.max(having.c.documents).label("documents"),
            func.count().label("distinct_values"),
            func.array_agg(aggregate_order_by(as_text, counted.c.place))
            .filter(is_example)
            .label("examples"),
            func.min(number).label("low"),
            func.max(number).label("high"),
        )
        .join_from(counted, having, counted.c.key == having.c.key)
        .group_by(counted.c.key)
        .order_by(func.max(having.c.documents).desc(), counted.c.key)
        .limit(MOST_FIELDS)
    )
    return [
        FieldFacts(
            name=row.key,
            kinds=tuple(row.kinds),
            documents=row.documents,
            distinct=row.distinct_values,
            examples=tuple(row.examples or ()),
            low=None if row.low is None else float(row.low),
            high=None if row.high is None else float(row.high),
        )
        for row in rows
    ]
