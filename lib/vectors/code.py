"""A Select as Python: SQLAlchemy code that builds the same statement, to run elsewhere.

It knows what the statements of Vecscope are made of; any other expression is written as a
``literal_column`` of its SQL, so that the code always says the same as the statement.
"""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import (
    CTE,
    Alias,
    BindParameter,
    Case,
    Cast,
    Column,
    Exists,
    FromClause,
    Join,
    Label,
    Lateral,
    Over,
    ScalarSelect,
    Select,
    Subquery,
    Table,
    TableValuedAlias,
)
from sqlalchemy.sql import functions, operators
from sqlalchemy.sql.base import ColumnCollection
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BooleanClauseList,
    ColumnClause,
    ExpressionClauseList,
    Grouping,
    Null,
    True_,
    UnaryExpression,
)
from sqlalchemy.sql.sqltypes import TableValueType
from sqlalchemy.types import NullType, TypeEngine

from lib.vectors.distance import FloatArray
from lib.vectors.sql import printed

EMBEDDING_NAME = "query_embedding"
_WIDTH = 88
_DISTANCES = {"<=>": "cosine_distance", "<->": "l2_distance", "<#>": "max_inner_product"}
_SIGNS: dict[Any, str] = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
}
_AFTER: dict[Any, str] = {
    operators.desc_op: "desc",
    operators.asc_op: "asc",
    operators.nulls_last_op: "nulls_last",
    operators.nulls_first_op: "nulls_first",
}
_STANDARD_LIBRARY = {"decimal", "uuid"}
_FROM_POSTGRESQL = {"JSONB", "REGCONFIG", "TSQUERY", "TSVECTOR", "ARRAY"}
_FROM_PGVECTOR = {"VECTOR", "HALFVEC"}
# No variable for a table may hide what the code imports or uses.
_RESERVED = {
    *("and_", "or_", "case", "cast", "column", "create_engine", "exists", "func", "literal"),
    *("literal_column", "null", "select", "true", "os", "engine", "connection", "statement"),
    *("settings", "row", "print"),
}


@dataclass(frozen=True)
class StatementCode:
    """Python code that builds a statement."""

    imports: tuple[str, ...]
    """Lines, the standard library's first."""

    body: str
    """Lines that end with ``statement = …``."""

    vectors: dict[str, FloatArray]
    """Name → values (d,), which the body expects to be there."""


def statement_code(statement: Select[Any], uses: Iterable[str] = ()) -> StatementCode:
    """The code of a statement, with its parameters' values in it, vectors aside.

    uses: what else the code around it takes from SQLAlchemy, to be imported too.
    """
    writer = _Writer(uses)
    made = _chained("statement", writer.select(statement))
    body = "\n".join([*writer.table_lines(), *writer.lines, made])
    return StatementCode(writer.import_lines(), body, writer.vectors)


def _string(value: str) -> str:
    """With double quotes, where that needs no backslashes."""
    shown = repr(value)
    return (
        f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown and "\\" not in shown else shown
    )


_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\[\](){},]|[^'"\[\](){},]+""")


_OPERATOR = re.compile(r" (?=(?:==|!=|<=|>=|<|>|\+|-|\*|/) )")


def wrapped(code: str, indent: int = 0, *, in_brackets: bool = False) -> str:
    """An expression over as many lines as it needs: the widest brackets are opened first, and what
    is in them stands on lines of its own.

    in_brackets: a line may end at an operator.
    """
    if indent + len(code) <= _WIDTH:
        return code
    tokens = _TOKEN.findall(code)
    margin = " " * indent
    operands = _split(tokens, _OPERATOR) if in_brackets else []
    if len(operands) > 1:
        return f"\n{margin}".join(wrapped(operand, indent) for operand in operands)
    first, last = _widest_brackets(tokens)
    if first == last:
        return code
    parts = _split(tokens[first + 1 : last], re.compile(","))
    comma = "," if len(parts) > 1 or parts[0].endswith(",") else ""
    lines = "".join(
        f"{margin}    {wrapped(part.strip(' ,'), indent + 4, in_brackets=True)}{comma}\n"
        for part in parts
        if part.strip(" ,")
    )
    head, tail = "".join(tokens[: first + 1]), "".join(tokens[last:])
    return f"{head}\n{lines}{margin}{wrapped(tail, indent)}"


def _widest_brackets(tokens: list[str]) -> tuple[int, int]:
    """The places of the widest outermost pair that is not empty; equal where there is none."""
    widest, first, last, opened, depth = 0, 0, 0, 0, 0
    for place, token in enumerate(tokens):
        depth += (token in "([{") - (token in ")]}")
        if token in "([{" and depth == 1:
            opened = place
        elif token in ")]}" and depth == 0:
            width = sum(map(len, tokens[opened:place]))
            if width > widest and place > opened + 1:
                widest, first, last = width, opened, place
    return first, last


def _split(tokens: list[str], at: re.Pattern[str]) -> list[str]:
    """The code cut where ``at`` matches outside of brackets and strings; commas stay at the end."""
    parts, depth = [""], 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if depth or token[0] in "\"'([{)]}":
            parts[-1] += token
        elif token == ",":
            parts[-1] += token
            if at.pattern == ",":
                parts.append("")
        else:
            begin, *others = at.split(token)
            parts[-1] += begin
            parts += others
    return [part for part in parts if part.strip()]


def _chained(name: str, chain: list[str]) -> str:
    """``name = …``: a chain of calls on one line where it fits, else a line for each call."""
    flat = f"{name} = {''.join(chain)}"
    if len(flat) <= _WIDTH:
        return flat
    if len(chain) == 1:
        return wrapped(flat)
    lines = "".join(f"    {wrapped(call, 4)}\n" for call in chain)
    return f"{name} = (\n{lines})"


def _place_of_import(item: tuple[str, set[str]]) -> tuple[bool, str]:
    """The standard library's modules come first."""
    return item[0] not in _STANDARD_LIBRARY, item[0]


class _Writer:
    """Collects definitions in the order that they are needed in."""

    def __init__(self, uses: Iterable[str]) -> None:
        self.lines: list[str] = []
        self.vectors: dict[str, FloatArray] = {}
        self._imports: dict[str, set[str]] = {"sqlalchemy": set(uses)}
        self._names: dict[FromClause, str] = {}
        self._given: dict[str, Any] = {}
        self._used: dict[Table, set[str]] = {}

    def import_lines(self) -> tuple[str, ...]:
        lines = []
        for module, names in sorted(self._imports.items(), key=_place_of_import):
            listed = ", ".join(sorted(names, key=str.lower))
            line = f"from {module} import {listed}"
            lines.append(
                line if len(line) <= _WIDTH else wrapped(f"from {module} import ({listed})")
            )
        return tuple(lines)

    def _use(self, name: str, module: str = "sqlalchemy") -> str:
        self._imports.setdefault(module, set()).add(name)
        return name

    def table_lines(self) -> Iterator[str]:
        """The definitions of the tables, with the columns that are used."""
        for table, used in self._used.items():
            columns = [self._column(column) for column in table.columns if column.key in used]
            schema = [f"schema={_string(table.schema)}"] if table.schema else []
            parts = [_string(table.name), f"{self._use('MetaData')}()", *columns, *schema]
            yield wrapped(f"{self._names[table]} = {self._use('Table')}({', '.join(parts)})")

    # --- where rows come from ---

    def source(self, source: FromClause) -> str:
        """The variable that stands for it; defined before it is used first."""
        if isinstance(source, Join):
            how = ", full=True" if source.full else ", isouter=True" if source.isouter else ""
            on = self.expression(source.onclause) if source.onclause is not None else ""
            return f"{self.source(source.left)}.join({self.source(source.right)}, {on}{how})"
        if source not in self._names:
            made = [] if isinstance(source, Table) else self._source_chain(source)
            wanted = re.sub(r"\W+", "_", str(getattr(source, "name", "rows")).lower()).strip("_")
            if not wanted.isidentifier() or keyword.iskeyword(wanted):
                wanted = f"t_{wanted}"
            taken = {*self._names.values(), *_RESERVED}
            name, number = wanted, 1
            while name in taken:
                number += 1
                name = f"{wanted}_{number}"
            self._names[source] = name
            if isinstance(source, Table):
                self._used[source] = set()
            else:
                self.lines.append(_chained(name, made))
        return self._names[source]

    def _source_chain(self, source: FromClause) -> list[str]:
        name = _string(str(getattr(source, "name", "")))
        if isinstance(source, TableValuedAlias):
            columns = ", ".join(
                f"{self._use('column')}({_string(c.name)}, {self._type(c.type)})" for c in source.c
            )
            function = self.expression(source.element)
            derived = f".render_derived({name})" if source._render_derived else ""
            return [function, f".table_valued({columns})", derived]
        if isinstance(source, Alias) and isinstance(source.element, Table):
            return [self.source(source.element), f".alias({name})"]
        how = next(
            how
            for kind, how in ((CTE, "cte"), (Lateral, "lateral"), (Subquery, "subquery"))
            if isinstance(source, kind)
        )
        statement: Any = source.element  # type: ignore[attr-defined]
        made = [*self.select(statement), f".{how}({name})"]
        prefixes = [str(prefix) for prefix, _ in getattr(source, "_prefixes", ())]
        return [*made, *(f".prefix_with({_string(prefix)})" for prefix in prefixes)]

    def _column(self, column: Column[Any]) -> str:
        kind = "" if isinstance(column.type, NullType) else f", {self._type(column.type)}"
        return f"{self._use('Column')}({_string(column.name)}{kind})"

    def _type(self, kind: TypeEngine[Any]) -> str:
        if isinstance(kind, NullType):
            self._use("NullType", "sqlalchemy.types")
            return "NullType()"
        family = type(kind).__mro__
        name = next((c.__name__ for c in family if c.__name__ in _FROM_PGVECTOR), None)
        if name is not None:
            dimensions = getattr(kind, "dim", None)
            self._use(name, "pgvector.sqlalchemy")
            return f"{name}({'' if dimensions is None else dimensions})"
        name = type(kind).__name__
        if name == "UUID":
            name = "Uuid"  # PostgreSQL's own, under a name that Python's does not have
        if name == "BIT":
            return f"{self._use(name, 'sqlalchemy.dialects.postgresql')}({kind.length})"  # type: ignore[attr-defined]
        if name == "ARRAY":
            self._use(name, "sqlalchemy.dialects.postgresql")
            return f"ARRAY({self._type(kind.item_type)})"  # type: ignore[attr-defined]
        if name in _FROM_POSTGRESQL:
            return f"{self._use(name, 'sqlalchemy.dialects.postgresql')}()"
        return f"{self._use(name, 'sqlalchemy.types')}()"

    # --- SELECT ---

    def select(self, statement: Any) -> list[str]:
        """The calls that make it, in their order."""
        while not isinstance(statement, Select):  # in brackets
            statement = statement.element
        self._given.update(
            statement._params
        )  # by Select.params(); SQLAlchemy's own compiler does so
        columns = [self.expression(column) for column in statement.selected_columns]
        froms = [self.source(source) for source in statement.get_final_froms()]
        calls = [
            f"{self._use('select')}({', '.join(columns)})",
            f".select_from({', '.join(froms)})",
        ]
        if statement._correlate:
            calls.append(f".correlate({self._all(statement._correlate, self.source)})")
        if statement._where_criteria:
            calls.append(f".where({self._all(statement._where_criteria)})")
        if statement._group_by_clauses:
            calls.append(f".group_by({self._all(statement._group_by_clauses)})")
        if statement._order_by_clauses:
            calls.append(f".order_by({self._all(statement._order_by_clauses)})")
        for clause, call in (
            (statement._limit_clause, "limit"),
            (statement._offset_clause, "offset"),
        ):
            if clause is not None:
                calls.append(f".{call}({self._count(clause)})")
        return calls

    def _count(self, clause: Any) -> str:
        is_number = isinstance(clause, ColumnClause) and clause.name.isdigit()
        return clause.name if is_number else self.expression(clause)

    def _all(self, elements: Iterable[Any], write: Callable[[Any], str] | None = None) -> str:
        return ", ".join((write or self.expression)(element) for element in elements)

    # --- expressions ---

    def expression(self, element: Any) -> str:
        for kind, write in self._KINDS:
            if isinstance(element, kind):
                found: str | None = write(self, element)
                if found is not None:
                    return found
        return f"{self._use('literal_column')}({_string(printed(element))})"

    def _label(self, element: Label[Any]) -> str:
        return f"{self.expression(element.element)}.label({_string(element.name)})"

    def _column_of(self, element: ColumnClause[Any]) -> str | None:
        if element.is_literal:
            kind = "" if isinstance(element.type, NullType) else f", {self._type(element.type)}"
            return f"{self._use('literal_column')}({_string(element.name)}{kind})"
        if element.table is None:
            return None
        key, source = str(element.key), element.table
        name = self.source(source)
        table: Any = source.element if isinstance(source, Alias) else source
        if isinstance(table, Table):
            self._used[table].add(key)
        is_plain = (
            key.isidentifier()
            and not keyword.iskeyword(key)
            and not key.startswith("_")
            and not hasattr(ColumnCollection, key)
        )
        return f"{name}.c.{key}" if is_plain else f"{name}.c[{_string(key)}]"

    def _parameter(self, element: BindParameter[Any]) -> str:
        value = self._given.get(element.key, element.effective_value)
        if isinstance(value, np.ndarray):
            return f"{self._use('literal')}({self._vector(value)}, {self._type(element.type)})"
        if isinstance(value, UUID):
            self._use("UUID", "uuid")
        elif isinstance(value, Decimal):
            self._use("Decimal", "decimal")
        kind = "" if isinstance(element.type, NullType) else f", {self._type(element.type)}"
        shown = _string(value) if isinstance(value, str) else repr(value)
        return f"{self._use('literal')}({shown}{kind})"

    def _vector(self, value: FloatArray) -> str:
        """The variable for it; the same vector is written once."""
        for name, other in self.vectors.items():
            if np.array_equal(other, value):
                return name
        number = len(self.vectors) + 1
        name = EMBEDDING_NAME if number == 1 else f"{EMBEDDING_NAME}_{number}"
        self.vectors[name] = value
        return name

    def _binary(self, element: BinaryExpression[Any]) -> str | None:
        left, right, sign = element.left, element.right, element.operator
        if sign in (operators.is_, operators.is_not):
            how = "is_" if sign is operators.is_ else "is_not"
            return f"{self.expression(left)}.{how}(None)" if isinstance(right, Null) else None
        if sign is operators.collate:
            return f"{self.expression(left)}.collate({_string(right.collation)})"
        if sign is operators.json_getitem_op:
            return f"{self.expression(left)}[{self.expression(right)}]"
        if isinstance(sign, operators.custom_op):
            distance = _DISTANCES.get(sign.opstring)
            if distance is not None and isinstance(right, BindParameter):
                value: Any = self._given.get(right.key, right.effective_value)
                vector = self._vector(value)
                return f"{self.expression(left)}.{distance}({vector})"
            if sign.is_comparison:
                how = f"bool_op({_string(sign.opstring)})"
            else:
                how = f"op({_string(sign.opstring)}, return_type={self._type(element.type)})"
            return f"{self.expression(left)}.{how}({self.expression(right)})"
        if sign in _SIGNS:
            return f"({self.expression(left)} {_SIGNS[sign]} {self.expression(right)})"
        return None

    def _chain(self, element: ExpressionClauseList[Any]) -> str | None:
        """``a + b + c``, ``a AND b AND c``."""
        parts = [self.expression(part) for part in element.clauses]
        if isinstance(element, BooleanClauseList):
            how = "and_" if element.operator is operators.and_ else "or_"
            return f"{self._use(how)}({', '.join(parts)})"
        sign = _SIGNS.get(element.operator)
        return None if sign is None else f"({f' {sign} '.join(parts)})"

    def _unary(self, element: UnaryExpression[Any]) -> str | None:
        after = _AFTER.get(element.modifier)
        if after is not None:
            return f"{self.expression(element.element)}.{after}()"
        if element.operator is operator.neg:
            return f"(-{self.expression(element.element)})"
        return None

    def _exists(self, element: Exists) -> str | None:
        inner = element.element
        statement = getattr(inner, "element", inner)
        return f"{self._use('exists')}({''.join(self.select(statement))})"

    def _scalar(self, element: ScalarSelect[Any]) -> str:
        return f"{''.join(self.select(element.element))}.scalar_subquery()"

    def _function(self, element: functions.FunctionElement[Any]) -> str | None:
        if not isinstance(element, functions.Function | functions.GenericFunction):
            return None
        arguments = [self.expression(argument) for argument in element.clauses]
        is_plain = type(element) is functions.Function
        if is_plain and not isinstance(element.type, NullType | TableValueType):
            arguments.append(f"type_={self._type(element.type)}")
        return f"{self._use('func')}.{element.name}({', '.join(arguments)})"

    def _over(self, element: Over[Any]) -> str:
        arguments = []
        for name, clauses in (
            ("partition_by", element.partition_by),
            ("order_by", element.order_by),
        ):
            if clauses is not None:
                listed = self._all(clauses)
                arguments.append(
                    f"{name}=[{listed}]" if len(list(clauses)) > 1 else f"{name}={listed}"
                )
        return f"{self.expression(element.element)}.over({', '.join(arguments)})"

    def _case(self, element: Case[Any]) -> str:
        parts = [
            f"({self.expression(when)}, {self.expression(then)})" for when, then in element.whens
        ]
        if element.else_ is not None:
            parts.append(f"else_={self.expression(element.else_)}")
        return f"{self._use('case')}({', '.join(parts)})"

    def _cast(self, element: Cast[Any]) -> str:
        return f"{self._use('cast')}({self.expression(element.clause)}, {self._type(element.type)})"

    _KINDS: tuple[tuple[type[Any], Callable[[_Writer, Any], str | None]], ...] = (
        (Label, _label),
        (BindParameter, _parameter),
        (ColumnClause, _column_of),
        (Grouping, lambda self, element: self.expression(element.element)),
        (Exists, _exists),
        (ScalarSelect, _scalar),
        (Over, _over),
        (Case, _case),
        (Cast, _cast),
        (functions.FunctionElement, _function),
        (ExpressionClauseList, _chain),
        (BinaryExpression, _binary),
        (UnaryExpression, _unary),
        (Null, lambda self, _: f"{self._use('null')}()"),
        (True_, lambda self, _: f"{self._use('true')}()"),
    )
