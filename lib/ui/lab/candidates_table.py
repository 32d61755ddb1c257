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
_TURN = "lab:editor:turn"  # another key for each set of rows: an editor keeps edits by their place

_KIND, _STORAGE, _LISTS, _M, _EF = "Index", "Holds", "Lists", "Links", "Breadth"
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

    def spec(self, rows: int) -> CandidateSpec:
        """What is left out is the usual of so many rows. Raises LimitExceeded."""
        if self.kind is IndexKind.IVFFLAT:
            return CandidateSpec(IVFFlat(self.lists or recommended_lists(rows)), self.storage)
        m = self.m or M.default
        usual = max(EF_CONSTRUCTION.default, min(2 * m, EF_CONSTRUCTION.high))
        return CandidateSpec(HNSW(m, self.ef_construction or usual), self.storage)


@dataclass(frozen=True)
class Refused:
    """A row that cannot be a candidate, and why."""

    row: Row
    why: VecscopeError


@dataclass(frozen=True)
class Table:
    """What the table holds. unread: what of the address cannot be read."""

    entries: tuple[CandidateSpec | Refused, ...]
    unread: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[CandidateSpec, ...]:
        """Those that can be."""
        return tuple(each for each in self.entries if not isinstance(each, Refused))

    @property
    def whole(self) -> bool:
        return len(self.specs) == len(self.entries)


def read_candidates(usual: Sequence[CandidateSpec], rows: int) -> Table:
    """By the address. usual: to begin with. rows: of the collection, with an embedding."""
    read_texts(KEY)
    read = {text: Row.from_text(text) for text in st.session_state[KEY]}
    unread = tuple(text for text, row in read.items() if row is None)
    found = [row for row in read.values() if row is not None][:MAX_CANDIDATES]
    if not found:
        return Table(tuple(usual), unread)
    return Table(tuple(_spec_or_why(row, rows) for row in found), unread)


def _spec_or_why(row: Row, rows: int) -> CandidateSpec | Refused:
    try:
        return row.spec(rows)
    except VecscopeError as exc:
        return Refused(row, exc)


def _row_of(entry: CandidateSpec | Refused) -> Row:
    return entry.row if isinstance(entry, Refused) else Row.of(entry)


# --- edits --------------------------------------------------------------------------------------


def edited(
    rows: Sequence[Row], changes: Mapping[str, Any], usual: CandidateStorage, documents: int
) -> list[Row]:
    """The rows after what was done to them in the editor. usual: what a new row holds."""
    changed = [
        _changed(row, changes["edited_rows"].get(place, {}), documents)
        for place, row in enumerate(rows)
    ]
    gone = set(changes["deleted_rows"])
    kept = [row for place, row in enumerate(changed) if place not in gone]
    for added in changes["added_rows"]:
        if len(kept) < MAX_CANDIDATES:
            kept.append(_changed(_new_row(kept, usual), added, documents))
    return kept


def _changed(row: Row, cells: Mapping[str, Any], documents: int) -> Row:
    kind = _KINDS.get(cells.get(_KIND, ""), row.kind)
    storage = _STORAGES.get(cells.get(_STORAGE, ""), row.storage)
    if kind is IndexKind.IVFFLAT:
        lists = cells.get(_LISTS, row.lists)
        return Row(kind, storage, lists=int(lists or recommended_lists(documents)))
    m = int(cells.get(_M, row.m) or M.default)
    usual = max(EF_CONSTRUCTION.default, min(2 * m, EF_CONSTRUCTION.high))
    # Links that were changed take the breadth along where it would be too small.
    typed = cells.get(_EF)
    breadth = typed or (usual if _EF in cells else max(row.ef_construction or usual, 2 * m))
    return Row(kind, storage, m=m, ef_construction=min(int(breadth), EF_CONSTRUCTION.high))


def _new_row(rows: Sequence[Row], storage: CandidateStorage) -> Row:
    there = {(row.m, row.storage) for row in rows if row.kind is IndexKind.HNSW}
    m = next((m for m in _LINKS if (m, storage) not in there), M.high)
    return Row(IndexKind.HNSW, storage, m=m, ef_construction=max(EF_CONSTRUCTION.default, 2 * m))


def _note_edits(rows: Sequence[Row], key: str, usual: CandidateStorage, documents: int) -> None:
    """Before the page is drawn again. An editor whose rows are the new ones has no edits left."""
    changes = st.session_state[key]
    _take(edited(rows, changes, usual, documents))


def _take(rows: Sequence[Row]) -> None:
    st.session_state[KEY] = list(dict.fromkeys(row.text for row in rows))
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1


# --- the table ----------------------------------------------------------------------------------


def show_candidates(
    table: Table,
    plan: Plan,
    usual: Sequence[CandidateSpec],
    documents: int,
    *,
    busy: bool,
) -> None:
    """The table, with what each row will take, and below it what is to be said of them.

    plan: of the table's specs. usual: to begin with.
    """
    if table.unread:
        st.warning(
            f"The address names candidates that cannot be read: {escape(', '.join(table.unread))}.",
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
    planned = iter(plan.candidates)
    beside = [None if isinstance(entry, Refused) else next(planned) for entry in table.entries]
    key = f"{_EDITOR}:{st.session_state.get(_TURN, 0)}"
    storage = usual[0].storage
    st.data_editor(
        _frame(rows, beside),
        key=key,
        hide_index=True,
        num_rows="dynamic",
        width="stretch",
        disabled=busy or [_MEMORY, _DISK, _SECONDS, _STATE],
        column_config=_COLUMNS,
        on_change=_note_edits,
        args=(rows, key, storage, documents),
        alt="The candidates: their index, what it holds, its options, and what each will take",
    )
    usual_rows = [Row.of(spec) for spec in usual]
    write_texts(KEY, [] if rows == usual_rows else [row.text for row in rows])
    if rows != usual_rows:
        st.button(
            "Back to the usual two",
            icon=":material/restart_alt:",
            on_click=_take,
            args=(usual_rows,),
            type="tertiary",
            help="The candidates that pgvector's guidelines name for this many rows.",
        )
    for entry, found in zip(table.entries, beside, strict=True):
        _say(entry, found)
    _show_disk(plan)
    if not (table.whole and plan.possible):
        st.caption("Change or remove what cannot be built; then all of it can be run.")


def _frame(rows: Sequence[Row], beside: Sequence[PlannedCandidate | None]) -> pd.DataFrame:
    frame = pd.DataFrame(
        [
            {
                _KIND: row.kind.label,
                _STORAGE: row.storage.label,
                _LISTS: row.lists,
                _M: row.m,
                _EF: row.ef_construction,
                **_figures(found),
            }
            for row, found in zip(rows, beside, strict=True)
        ],
        columns=[_KIND, _STORAGE, _LISTS, _M, _EF, _MEMORY, _DISK, _SECONDS, _STATE],
    )
    return frame.astype({_LISTS: "Int64", _M: "Int64", _EF: "Int64"})


_REFUSED = {_MEMORY: "–", _DISK: "–", _SECONDS: "–", _STATE: "refused"}


def _figures(found: PlannedCandidate | None) -> dict[str, str]:
    if found is None:
        return _REFUSED
    if found.refusal is not None:
        return _REFUSED
    estimate, built = found.estimate, found.built
    figures = {
        _MEMORY: format_bytes(estimate.memory_bytes),
        _DISK: format_bytes(estimate.disk_bytes),
        _SECONDS: format_duration(found.seconds),
        _STATE: "to build",
    }
    if built is not None:
        disk_bytes = built.size_bytes
        figures |= {_DISK: "" if disk_bytes is None else format_bytes(disk_bytes), _SECONDS: "0 s"}
        figures[_STATE] = "built already"
    elif found.warnings:
        figures[_STATE] = "to build, see below"
    return figures


def _show_disk(plan: Plan) -> None:
    """What is to be said of all candidates together."""
    if plan.disk_refusal is not None:
        refusal = plan.disk_refusal
        st.error(f"{escape(refusal.message)} {escape(refusal.hint)}", icon=":material/hard_drive:")
    if plan.disk_warning is not None:
        st.warning(escape(plan.disk_warning), icon=":material/hard_drive:")


def _say(entry: CandidateSpec | Refused, found: PlannedCandidate | None) -> None:
    if isinstance(entry, Refused):
        _refusal(_label(entry.row), entry.why)
    elif found is not None and found.refusal is not None:
        _refusal(entry.label, found.refusal)
    elif found is not None:
        for warning in found.warnings:
            st.warning(f"**{escape(entry.label)}**: {escape(warning)}", icon=":material/warning:")


def _label(row: Row) -> str:
    if row.kind is IndexKind.IVFFLAT:
        return f"IVFFlat lists {row.lists}"
    return f"HNSW m {row.m}, ef_construction {row.ef_construction}"


def _refusal(label: str, why: VecscopeError) -> None:
    words = f"{escape(why.message)} {escape(why.hint)}".strip()
    st.error(f"**{escape(label)}** cannot be built. {words}", icon=":material/block:")


_COLUMNS: dict[str, Any] = {
    _KIND: st.column_config.SelectboxColumn(
        "Index",
        width=90,
        options=list(_KINDS),
        help="IVFFlat sorts rows into lists and looks into some of them: quick to build, small. "
        "HNSW walks a graph: quicker and more exact to search, slower to build, larger.",
    ),
    _STORAGE: st.column_config.SelectboxColumn(
        "Holds",
        width=120,
        options=list(_STORAGES),
        help="What the index holds (storage). vector: 4 bytes a dimension, up to 2,000 of them. "
        "halfvec: 2 bytes, up to 4,000. bit: one bit a dimension; more rows are taken by their "
        "bits, and ranked again by the full vector.",
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
        "Links (m)",
        width=90,
        min_value=M.low,
        max_value=M.high,
        step=1,
        help="HNSW only: links of a row (m). More find more, and take more memory and time.",
    ),
    _EF: st.column_config.NumberColumn(
        "Breadth (ef)",
        width=105,
        min_value=EF_CONSTRUCTION.low,
        max_value=EF_CONSTRUCTION.high,
        step=1,
        help="HNSW only: how many rows are looked at to find a row's links (ef_construction), at "
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
