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
from lib.store.candidates import CandidateSpec, CandidateStorage
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import read_texts, write_texts
from lib.vectors.index_methods import HNSW, IndexKind, IVFFlat, recommended_lists
from lib.vectors.tuning import EF_CONSTRUCTION, LISTS, M

KEY = "lab.index"
_EDITOR = "lab:editor"
_EDITOR_NUMBER = "lab:editor:turn"
"""Another editor for each set of rows, since an editor keeps its edits by their place."""

# Names of the columns, also in an editor's edits; what people read is in _COLUMNS.
_KIND, _STORAGE, _LISTS, _M, _EF = "Index", "Stored as", "Lists", "m", "ef_construction"
_MEMORY, _DISK, _SECONDS, _STATE = "Memory", "On disk", "Build", "State"
_KINDS = {kind.label: kind for kind in IndexKind}
_STORAGES = {storage.label: storage for storage in CandidateStorage}
# What a row that is added begins with: the first of these links that is not there yet.
_LINKS = (M.default, 24, 32, 48, 8, 64)


@dataclass(frozen=True)
class Row:
    """A row as it was typed, which need not be a candidate that can be: an option may be missing,
    or go badly with another one."""

    kind: IndexKind
    storage: CandidateStorage
    lists: int | None = None
    m: int | None = None
    ef_construction: int | None = None

    @classmethod
    def of(cls, spec: CandidateSpec) -> Row:
        return cls(spec.index.kind, spec.storage, **spec.index.options)

    @classmethod
    def from_text(cls, text: str) -> Row | None:
        """As it stands in the address; None where it cannot be read."""
        index, _, held = text.partition("@")
        kind, _, rest = index.partition(":")
        options = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
        if kind not in {*IndexKind} or held not in {*CandidateStorage}:
            return None
        if not all(value.isdecimal() and len(value) < 9 for value in options.values()):
            return None
        known = {"lists"} if kind == IndexKind.IVFFLAT else {"m", "ef_construction"}
        if set(options) - known:
            return None
        numbers = {name: int(value) for name, value in options.items()}
        return cls(IndexKind(kind), CandidateStorage(held), **numbers)

    @property
    def text(self) -> str:
        names = ("lists",) if self.kind is IndexKind.IVFFLAT else ("m", "ef_construction")
        options = [(name, getattr(self, name)) for name in names]
        written = ",".join(f"{name}={value}" for name, value in options if value is not None)
        return f"{self.kind.value}:{written}@{self.storage.value}"

    @property
    def label(self) -> str:
        """Of a row that may be no candidate."""
        if self.kind is IndexKind.IVFFLAT:
            return f"IVFFlat lists {self.lists}"
        return f"HNSW m {self.m}, ef_construction {self.ef_construction}"

    def spec(self, rows: int) -> CandidateSpec:
        """What is left out is the usual of so many rows. Raises LimitExceeded."""
        if self.kind is IndexKind.IVFFLAT:
            return CandidateSpec(IVFFlat(self.lists or recommended_lists(rows)), self.storage)
        m = self.m or M.default
        usual = max(EF_CONSTRUCTION.default, min(2 * m, EF_CONSTRUCTION.high))
        return CandidateSpec(HNSW(m, self.ef_construction or usual), self.storage)


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
    default_storage: CandidateStorage,
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
    kind = _KINDS.get(cells.get(_KIND, ""), row.kind)
    storage = _STORAGES.get(cells.get(_STORAGE, ""), row.storage)
    if kind is IndexKind.IVFFLAT:
        lists = cells.get(_LISTS, row.lists)
        return Row(kind, storage, lists=int(lists or recommended_lists(documents)))
    m = int(cells.get(_M, row.m) or M.default)
    default = max(EF_CONSTRUCTION.default, min(2 * m, EF_CONSTRUCTION.high))
    # Links that were changed take the breadth along where it would be too small.
    typed = cells.get(_EF)
    breadth = typed or (default if _EF in cells else max(row.ef_construction or default, 2 * m))
    return Row(kind, storage, m=m, ef_construction=min(int(breadth), EF_CONSTRUCTION.high))


def _new_row(rows: Sequence[Row], storage: CandidateStorage) -> Row:
    present = {(row.m, row.storage) for row in rows if row.kind is IndexKind.HNSW}
    m = next((m for m in _LINKS if (m, storage) not in present), M.high)
    return Row(IndexKind.HNSW, storage, m=m, ef_construction=max(EF_CONSTRUCTION.default, 2 * m))


def _take_edits(
    rows: Sequence[Row], key: str, default_storage: CandidateStorage, documents: int
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
        column_config=_COLUMNS,
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
    frame = pd.DataFrame(
        [
            {
                _KIND: row.kind.label,
                _STORAGE: row.storage.label,
                _LISTS: row.lists,
                _M: row.m,
                _EF: row.ef_construction,
                **_cells_of_plan(planned),
            }
            for row, planned in zip(rows, plans, strict=True)
        ],
        columns=[_KIND, _STORAGE, _LISTS, _M, _EF, _MEMORY, _DISK, _SECONDS, _STATE],
    )
    return frame.astype({_LISTS: "Int64", _M: "Int64", _EF: "Int64"})


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


_COLUMNS: dict[str, Any] = {
    _KIND: st.column_config.SelectboxColumn(
        "Index",
        width=90,
        options=list(_KINDS),
        help="IVFFlat sorts rows into lists and looks into some of them: quick to build, small. "
        "HNSW walks a graph: quicker and more exact to search, slower to build, larger.",
    ),
    _STORAGE: st.column_config.SelectboxColumn(
        "Stored as",
        width=120,
        options=list(_STORAGES),
        help="How the index stores vectors. vector: 4 bytes a dimension, up to 2,000 of them. "
        "halfvec: 2 bytes, up to 4,000. bit: one bit a dimension (binary quantization); more rows "
        "are found by their bits, and re-ranked by the full vector.",
    ),
    _LISTS: st.column_config.NumberColumn(
        "Lists",
        width=75,
        min_value=LISTS.low,
        max_value=LISTS.high,
        step=1,
        help="IVFFlat only: into how many lists the rows are sorted (lists). The guideline is one "
        "for each 1,000 rows, √rows above a million, at least 10.",
    ),
    _M: st.column_config.NumberColumn(
        "Links per node (m)",
        width=140,
        min_value=M.low,
        max_value=M.high,
        step=1,
        help="HNSW only: links of a row in the graph. More find more, and take more memory and "
        "time.",
    ),
    _EF: st.column_config.NumberColumn(
        "Build breadth (ef_construction)",
        width=215,
        min_value=EF_CONSTRUCTION.low,
        max_value=EF_CONSTRUCTION.high,
        step=1,
        help="HNSW only: how many rows are looked at to find a row's links, at "
        "least twice the links. More make a better graph and take longer.",
    ),
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
