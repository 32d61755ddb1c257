"""The list of documents: a table to page through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from lib.store.browse import (
    Cursor,
    DocumentFilter,
    DocumentLine,
    DocumentPage,
    EmbeddingState,
    Order,
    Total,
)
from lib.store.collections import Collection
from lib.ui.browse.document import close_document, open_document, opened_document

_PAGING = "browse:paging"
_STATES = {
    EmbeddingState.EMBEDDED: "embedded",
    EmbeddingState.MISSING: "not yet",
    EmbeddingState.FAILED: "failed",
}


@dataclass(frozen=True)
class Paging:
    """Which page of a list is shown."""

    list_key: tuple[object, ...]
    """Tells the list from others."""

    cursors: tuple[Cursor, ...] = field(default=())
    """Where each page but the first began."""

    @property
    def after(self) -> Cursor | None:
        return self.cursors[-1] if self.cursors else None


def current_paging(collection: Collection, where: DocumentFilter, order: Order) -> Paging:
    """At the first page, unless one has paged through just this list."""
    list_key = (collection.slug, where, order)
    last = st.session_state.get(_PAGING)
    return last if isinstance(last, Paging) and last.list_key == list_key else Paging(list_key)


def _go_to(paging: Paging) -> None:
    st.session_state[_PAGING] = paging


def show_total(total: Total, where: DocumentFilter) -> None:
    """How many documents the list has."""
    if total.is_exact and total.documents == 1:
        count, verb = "1 document", "matches"
    else:
        number = f"{total.documents:,}" if total.is_exact else f"More than {total.documents:,}"
        count, verb = f"{number} documents", "match"
    st.markdown(f"**{count}**" if where.is_empty else f"**{count}** {verb}")


def show_list(page: DocumentPage, paging: Paging, order: Order) -> list[DocumentLine]:
    """A page of the list as a table; the ticked rows. Ticking one row opens it."""
    if not page.documents:
        st.info(
            "No document matches. Remove a condition on the left.", icon=":material/search_off:"
        )
        return []
    key = f"documents:{hash((paging.list_key, paging.after))}"
    ticked = st.dataframe(
        _columns(page.documents, order),
        hide_index=True,
        key=key,
        on_select=lambda: _open_ticked(key, page.documents),
        selection_mode="multi-row",
        column_config={
            "Title": st.column_config.TextColumn(width=190),
            "Text": st.column_config.TextColumn(width=310, help="Its beginning."),
            "Category": st.column_config.TextColumn(width=90),
            "Embedding": st.column_config.TextColumn(width=85),
            "Part": st.column_config.NumberColumn(width=50),
            "Length": st.column_config.NumberColumn(
                width=70, format="localized", help="Characters of its text."
            ),
        },
        alt="The documents of this page, one a row.",
    )
    return [page.documents[row] for row in ticked["selection"]["rows"]]


def _columns(documents: Sequence[DocumentLine], order: Order) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "Title": [document.title for document in documents],
        "Text": [" ".join(document.preview.split()) for document in documents],
        "Category": [document.category for document in documents],
        "Embedding": [_STATES[document.state] for document in documents],
        "Length": [document.characters for document in documents],
        "Id": [document.external_id for document in documents],
    }
    if any(document.part for document in documents):
        columns["Part"] = [document.part + 1 for document in documents]
    if order is Order.CHANGED:
        columns["Changed"] = [document.updated_at for document in documents]
    return {
        name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)
    }


def _open_ticked(key: str, documents: Sequence[DocumentLine]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if len(rows) == 1:
        open_document(documents[rows[0]].external_id, documents[rows[0]].part)
    elif not rows:
        close_document()


def show_pager(page: DocumentPage, paging: Paging) -> None:
    """To be drawn in the row below the table: above it, the table's own tools would cover it."""
    if page.following is not None or paging.cursors:
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=not paging.cursors,
            on_click=_go_to,
            args=[Paging(paging.list_key, paging.cursors[:-1])],
        )
        following = () if page.following is None else (page.following,)
        further = Paging(paging.list_key, (*paging.cursors, *following))
        st.button(
            "Next",
            icon=":material/chevron_right:",
            disabled=page.following is None,
            on_click=_go_to,
            args=[further],
        )
        st.caption(f"Page {len(paging.cursors) + 1:,}", width="content")
    hint = "Tick a row to open it, several to delete them." if page.documents else ""
    st.caption(hint if opened_document()[0] is None else "", width="stretch")
