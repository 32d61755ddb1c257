"""The table of candidates to edit, with what each will take beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from lib.errors import VecscopeError
from lib.formats import format_bytes, format_duration
from lib.lab.plan import Plan, PlannedCandidate
from lib.lab.spec import MAX_CANDIDATES
from lib.store.candidates import CandidateSpec
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import read_texts, write_texts
from lib.vectors.distance import ElementType
from lib.vectors.index_methods import HNSW, IndexMethod, M, index_methods

KEY = "lab.index"
_EDITOR = "lab:editor"
_EDITOR_NUMBER = "lab:editor:turn"
"""Another editor for each set of rows, since an editor keeps its edits by their place."""

# Names of the columns, also in an editor's edits; each build option has one of its own name.
_METHOD, _STORAGE = "Index", "Stored as"
_MEMORY, _DISK, _SECONDS, _STATE = "Memory", "On disk", "Build", "State"
_STORAGES = {storage.label: storage for storage in ElementType}
# What a row that is added begins with: the first of these links that is not there yet.
_LINKS = (M.default, 24, 32, 48, 8, 64)


@dataclass(frozen=True)
class Row:
    """A row as it was typed, which need not be a possible candidate: an option may be missing, or
    not go with another one."""

    method: IndexMethod
    storage: ElementType
    options: Mapping[str, int]
    """Build options by name; those that are not set are missing."""

    @classmethod
    def of(cls, spec: CandidateSpec) -> Row:
        return cls(spec.index.method, spec.storage, spec.index.options)

    @classmethod
    def from_text(cls, text: str) -> Row | None:
        """As it stands in the URL; None where it cannot be read."""
        index, _, storage = text.partition("@")
        name, _, rest = index.partition(":")
        options = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
        methods = {method.name: method for method in index_methods()}
        if name not in methods or storage not in {*ElementType}:
            return None
        if not all(value.isdecimal() and len(value) < 9 for value in options.values()):
            return None
        method = methods[name]
        names = [option.name for option in method.build_options]
        if set(options) - {*names}:
            return None
        numbers = {name: int(options[name]) for name in names if name in options}
        return cls(method, ElementType(storage), numbers)

    @property
    def text(self) -> str:
        written = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.method.name}:{written}@{self.storage.value}"

    @property
    def label(self) -> str:
        """Of a row that may be no candidate."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.method.label} {options}"

    def spec(self, rows: int) -> CandidateSpec:
        """What is left out takes the guideline's value for so many rows. Raises LimitExceeded."""
        return CandidateSpec(self.method.recommended(rows, **self.options), self.storage)


@dataclass(frozen=True)
class Refused:
    """A row that cannot be a candidate."""

    row: Row
    reason: VecscopeError


@dataclass(frozen=True)
class Table:
    """The rows of the table."""

    entries: tuple[CandidateSpec | Refused, ...]
    unread: tuple[str, ...] = ()
    """Candidates of the URL that cannot be read."""

    @property
    def specs(self) -> tuple[CandidateSpec, ...]:
        """The rows that can be candidates."""
        return tuple(entry for entry in self.entries if not isinstance(entry, Refused))

    @property
    def is_valid(self) -> bool:
        return len(self.specs) == len(self.entries)


def read_candidates(defaults: Sequence[CandidateSpec], documents: int) -> Table:
    """The rows by the URL, the defaults where it names none. documents: with an embedding."""
    read_texts(KEY)
    rows = {text: Row.from_text(text) for text in st.session_state[KEY]}
    unread = tuple(text for text, row in rows.items() if row is None)
    readable = [row for row in rows.values() if row is not None][:MAX_CANDIDATES]
    if not readable:
        return Table(tuple(defaults), unread)
    return Table(tuple(_entry(row, documents) for row in readable), unread)


def _entry(row: Row, documents: int) -> CandidateSpec | Refused:
    try:
        return row.spec(documents)
    except VecscopeError as exc:
        return Refused(row, exc)


def _row_of(entry: CandidateSpec | Refused) -> Row:
    return entry.row if isinstance(entry, Refused) else Row.of(entry)


# --- edits --------------------------------------------------------------------------------------


def edited(
    rows: Sequence[Row],
    changes: Mapping[str, Any],
    default_storage: ElementType,
    documents: int,
) -> list[Row]:
    """The rows after the edits of the editor. default_storage: of a row that is added."""
    edited_rows, deleted = changes["edited_rows"], set(changes["deleted_rows"])
    remaining = [
        _with_cells(row, edited_rows.get(number, {}), documents)
        for number, row in enumerate(rows)
        if number not in deleted
    ]
    for cells in changes["added_rows"]:
        if len(remaining) < MAX_CANDIDATES:
            remaining.append(_with_cells(_new_row(remaining, default_storage), cells, documents))
    return remaining


def _with_cells(row: Row, cells: Mapping[str, Any], documents: int) -> Row:
    """An option whose cell was emptied takes the guideline's value; one that was not edited rises
    with an option before it, where it would be too small."""
    methods = {method.label: method for method in index_methods()}
    method = methods.get(cells.get(_METHOD, ""), row.method)
    storage = _STORAGES.get(cells.get(_STORAGE, ""), row.storage)
    options: dict[str, int] = {}
    for option in method.build_options:
        typed = cells.get(option.name)
        before = row.options.get(option.name) if method == row.method else None
        if typed:
            options[option.name] = int(typed)
        elif before is None or option.name in cells:
            options[option.name] = option.recommend(documents, options)
        else:
            options[option.name] = max(before, option.least(options))
    return Row(method, storage, options)


def _new_row(rows: Sequence[Row], storage: ElementType) -> Row:
    present = {(row.options.get("m"), row.storage) for row in rows if row.method == HNSW}
    m = next((m for m in _LINKS if (m, storage) not in present), M.high)
    return Row(HNSW, storage, HNSW.recommended(0, m=m).options)


def _take_edits(
    rows: Sequence[Row], key: str, default_storage: ElementType, documents: int
) -> None:
    """Before the page is drawn again. An editor whose rows are the new ones has no edits left."""
    _set_rows(edited(rows, st.session_state[key], default_storage, documents))


def _set_rows(rows: Sequence[Row]) -> None:
    st.session_state[KEY] = list(dict.fromkeys(row.text for row in rows))
    st.session_state[_EDITOR_NUMBER] = st.session_state.get(_EDITOR_NUMBER, 0) + 1


# --- the table ----------------------------------------------------------------------------------


def show_candidates(
    table: Table,
    plan: Plan,
    defaults: Sequence[CandidateSpec],
    documents: int,
    *,
    is_busy: bool,
) -> None:
    """The table, with what each row will take, and below it refusals and warnings.

    plan: of the table's specs.
    """
    if table.unread:
        st.warning(
            f"The link names candidates that cannot be read: {escape(', '.join(table.unread))}.",
            icon=":material/help:",
        )
    st.markdown(
        "**Candidates to measure**",
        help="Copies of the collection's vectors, each with one index: the collection itself is "
        "not touched. The exact scan, which misses nothing, is measured beside them.",
    )
    st.caption(
        "Click into a cell to change it and below the last row to add one; tick rows on their left "
        "to remove them."
    )
    rows = [_row_of(entry) for entry in table.entries]
    default_rows = [Row.of(spec) for spec in defaults]
    plans = _plans_of_entries(table, plan)
    key = f"{_EDITOR}:{st.session_state.get(_EDITOR_NUMBER, 0)}"
    st.data_editor(
        _frame(rows, plans),
        key=key,
        hide_index=True,
        num_rows="dynamic",
        width="stretch",
        disabled=is_busy or [_MEMORY, _DISK, _SECONDS, _STATE],
        column_config=_columns(),
        on_change=_take_edits,
        args=(rows, key, defaults[0].storage, documents),
        alt="The candidates: their index, how it stores vectors, its options, and what each will "
        "take",
    )
    write_texts(KEY, [] if rows == default_rows else [row.text for row in rows])
    if rows != default_rows:
        st.button(
            "Back to the two defaults",
            icon=":material/restart_alt:",
            on_click=_set_rows,
            args=(default_rows,),
            type="tertiary",
            help="The candidates that pgvector's guidelines name for this many rows.",
        )
    for entry, planned in zip(table.entries, plans, strict=True):
        _show_refusal_or_warnings(entry, planned)
    _show_disk(plan)
    if not (table.is_valid and plan.possible):
        st.caption("Change or remove what cannot be built; then all of it can be run.")


def _plans_of_entries(table: Table, plan: Plan) -> list[PlannedCandidate | None]:
    """None for a row that cannot be a candidate."""
    planned = iter(plan.candidates)
    return [None if isinstance(entry, Refused) else next(planned) for entry in table.entries]


def _frame(rows: Sequence[Row], plans: Sequence[PlannedCandidate | None]) -> pd.DataFrame:
    names = [option.name for method in index_methods() for option in method.build_options]
    frame = pd.DataFrame(
        [
            {
                _METHOD: row.method.label,
                _STORAGE: row.storage.label,
                **{name: row.options.get(name) for name in names},
                **_cells_of_plan(planned),
            }
            for row, planned in zip(rows, plans, strict=True)
        ],
        columns=[_METHOD, _STORAGE, *names, _MEMORY, _DISK, _SECONDS, _STATE],
    )
    return frame.astype(dict.fromkeys(names, "Int64"))


def _cells_of_plan(planned: PlannedCandidate | None) -> dict[str, str]:
    if planned is None or planned.refusal is not None:
        return {_MEMORY: "–", _DISK: "–", _SECONDS: "–", _STATE: "refused"}
    estimate, built = planned.estimate, planned.built
    if built is not None:
        return {
            _MEMORY: format_bytes(estimate.memory_bytes),
            _DISK: "" if built.size_bytes is None else format_bytes(built.size_bytes),
            _SECONDS: "0 s",
            _STATE: "built already",
        }
    return {
        _MEMORY: format_bytes(estimate.memory_bytes),
        _DISK: format_bytes(estimate.disk_bytes),
        _SECONDS: format_duration(planned.seconds),
        _STATE: "to build, see below" if planned.warnings else "to build",
    }


def _show_disk(plan: Plan) -> None:
    """What all candidates take together, where that is too much."""
    refusal = plan.disk_refusal
    if refusal is not None:
        st.error(f"{escape(refusal.message)} {escape(refusal.hint)}", icon=":material/hard_drive:")
    if plan.disk_warning is not None:
        st.warning(escape(plan.disk_warning), icon=":material/hard_drive:")


def _show_refusal_or_warnings(
    entry: CandidateSpec | Refused, planned: PlannedCandidate | None
) -> None:
    if isinstance(entry, Refused):
        _show_refusal(entry.row.label, entry.reason)
    elif planned is not None and planned.refusal is not None:
        _show_refusal(entry.label, planned.refusal)
    elif planned is not None:
        for warning in planned.warnings:
            st.warning(f"**{escape(entry.label)}**: {escape(warning)}", icon=":material/warning:")


def _show_refusal(label: str, reason: VecscopeError) -> None:
    text = f"{escape(reason.message)} {escape(reason.hint)}".strip()
    st.error(f"**{escape(label)}** cannot be built. {text}", icon=":material/block:")


def _columns() -> dict[str, Any]:
    """The method, what its index stores, a column for each build option of any method, and what is
    estimated."""
    methods = index_methods()
    return {
        _METHOD: st.column_config.SelectboxColumn(
            "Index",
            width=90,
            options=[method.label for method in methods],
            help="  \n".join(f"**{method.label}**: {method.help}" for method in methods),
        ),
        _STORAGE: st.column_config.SelectboxColumn(
            "Stored as",
            width=120,
            options=list(_STORAGES),
            help="How the index stores vectors. vector: 4 bytes a dimension, up to 2,000 of them. "
            "halfvec: 2 bytes, up to 4,000. bit: one bit a dimension (binary quantization); more "
            "rows are found by their bits, and re-ranked by the full vector.",
        ),
        **{
            option.name: st.column_config.NumberColumn(
                option.name,  # the labels of all options together leave no room for the rest
                width=45 + 6 * len(option.name),
                min_value=option.range.low,
                max_value=option.range.high,
                step=1,
                help=f"**{option.label}**, {method.label} only. {option.help}",
            )
            for method in methods
            for option in method.build_options
        },
        **_ESTIMATED_COLUMNS,
    }


_ESTIMATED_COLUMNS: dict[str, Any] = {
    _MEMORY: st.column_config.TextColumn(
        "Memory",
        help="What the build wants at once. An HNSW graph that outgrows maintenance_work_mem goes "
        "on several times slower.",
    ),
    _DISK: st.column_config.TextColumn(
        "On disk",
        help="The copy of the vectors and the index together; of what is built already, as it is.",
    ),
    _SECONDS: st.column_config.TextColumn(
        "Build",
        help="To copy the vectors and to build the index. By measured rates, set right by what was "
        "built on this server before. What is there already is used again.",
    ),
    _STATE: st.column_config.TextColumn("State"),
}
