"""The documents of a collection: a list to narrow down and to page through, and one in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from lib.formats import format_bytes, format_count
from lib.ingest.export import ExportFormat
from lib.store.browse import (
    EVERYTHING,
    Cursor,
    DocumentFilter,
    DocumentLine,
    DocumentPage,
    DocumentParts,
    EmbeddingState,
    Order,
    Removal,
    StoredDocument,
    Total,
)
from lib.store.collections import Collection, CollectionSummary
from lib.store.jobs import Job, JobStatus
from lib.ui.shared.jobs import is_news, show_ended
from lib.ui.shared.links import collection_params, document_params
from lib.ui.shared.markdown import escape, place_words
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import choice, optional_choice
from lib.vectors.search import Hit

_PAGING, _MENU = "browse:paging", "browse:export"
_TEXT_HEIGHT = 420
MOST_DOWNLOAD_BYTES = 200 << 20
"""A larger file stays where it is: a browser gets it through the server's memory."""
_DELETE = ":material/delete:"
_STATES = {
    EmbeddingState.EMBEDDED: "embedded",
    EmbeddingState.MISSING: "not yet",
    EmbeddingState.FAILED: "failed",
}


# --- what to list -------------------------------------------------------------------------------


def list_controls(
    summary: CollectionSummary,
    categories: Sequence[tuple[str, int]],
    fields: Sequence[str],
    values_of: Callable[[str], Sequence[str]],
) -> tuple[DocumentFilter, Order]:
    """The settings column. values_of: the values to choose from of a field of the metadata."""
    st.markdown("**What**")
    words = st.text_input(
        "Words in title, text or id",
        key="q",
        bind="query-params",
        type="search",
        help="Every word must occur, as it is typed; capitals do not matter. Parts of words count.",
    )
    category = None
    if categories:
        documents = dict(categories)
        category = optional_choice(
            "Category",
            by_value(list(documents)),
            lambda category: f"{category} ({documents[category]:,})",
            key="category",
        )
    state = optional_choice(
        "Embedding",
        by_value(list(EmbeddingState)),
        lambda state: f"{state.label} ({_documents_in(summary, state):,})",
        key="state",
        help_text="**Not yet**: to be embedded. **Failed**: the model refused it; opening it says "
        "why.",
    )
    metadata = _metadata_filter(fields, values_of)
    st.markdown("**How**")
    order = choice(
        "Order",
        by_value(list(Order)),
        lambda order: order.label,
        key="order",
        default=Order.ID,
    )
    where = DocumentFilter(words=words or "", category=category, state=state, metadata=metadata)
    return where, order


def _metadata_filter(
    fields: Sequence[str], values_of: Callable[[str], Sequence[str]]
) -> tuple[str, str] | None:
    if not fields:
        return None
    name = optional_choice("Metadata", by_value(list(fields)), str, key="field")
    if name is None:
        return None
    value = st.selectbox(
        f"Where {escape(name)} is",
        values_of(name),
        index=None,
        key=f"value_of_{name}",
        bind="query-params",
        placeholder="Choose or type a value",
        accept_new_options=True,
        help="Compared as text. The list holds the most frequent values of a sample of the "
        "documents; any other one can be typed in.",
    )
    return None if value is None else (name, value)


def _documents_in(summary: CollectionSummary, state: EmbeddingState) -> int:
    return {
        EmbeddingState.EMBEDDED: summary.embedded,
        EmbeddingState.MISSING: summary.missing - summary.failed,
        EmbeddingState.FAILED: summary.failed,
    }[state]


# --- the list -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paging:
    """Where in a list one is. about: which list; cursors: where each page but the first began."""

    about: tuple[object, ...]
    cursors: tuple[Cursor, ...] = field(default=())

    @property
    def after(self) -> Cursor | None:
        return self.cursors[-1] if self.cursors else None


def paging(collection: Collection, where: DocumentFilter, order: Order) -> Paging:
    """At the first page, unless one has paged through just this list."""
    about = (collection.slug, where, order)
    kept = st.session_state.get(_PAGING)
    return kept if isinstance(kept, Paging) and kept.about == about else Paging(about)


def _go_to(place: Paging) -> None:
    st.session_state[_PAGING] = place


def show_total(total: Total, where: DocumentFilter) -> None:
    number = f"{total.documents:,}" if total.is_exact else f"More than {total.documents:,}"
    one = total.is_exact and total.documents == 1
    match = "" if where.is_empty else " matches" if one else " match"
    st.markdown(f"**{number} {'document' if one else 'documents'}**{match}")


def show_list(page: DocumentPage, place: Paging, order: Order) -> list[DocumentLine]:
    """The page as a table; which rows are ticked. Ticking one row opens it."""
    if not page.documents:
        st.info("No document is like this. Ask for less on the left.", icon=":material/search_off:")
        return []
    key = f"documents:{hash((place.about, place.after))}"
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
    found: dict[str, list[Any]] = {
        "Title": [document.title for document in documents],
        "Text": [" ".join(document.preview.split()) for document in documents],
        "Category": [document.category for document in documents],
        "Embedding": [_STATES[document.state] for document in documents],
        "Length": [document.characters for document in documents],
        "Id": [document.external_id for document in documents],
    }
    if any(document.part for document in documents):
        found["Part"] = [document.part + 1 for document in documents]
    if order is Order.CHANGED:
        found["Changed"] = [document.updated_at for document in documents]
    return {name: cells for name, cells in found.items() if any(cell is not None for cell in cells)}


def _open_ticked(key: str, documents: Sequence[DocumentLine]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if len(rows) == 1:
        open_document(documents[rows[0]].external_id, documents[rows[0]].part)
    elif not rows:
        close_document()


def show_pager(page: DocumentPage, place: Paging) -> None:
    """To be drawn in the row below the table: above it, the table's own tools would cover it."""
    if page.following is not None or place.cursors:
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=not place.cursors,
            on_click=_go_to,
            args=[Paging(place.about, place.cursors[:-1])],
        )
        following = () if page.following is None else (page.following,)
        further = Paging(place.about, (*place.cursors, *following))
        st.button(
            "Next",
            icon=":material/chevron_right:",
            disabled=page.following is None,
            on_click=_go_to,
            args=[further],
        )
        st.caption(f"Page {len(place.cursors) + 1:,}", width="content")
    hint = "Tick a row to open it, several to delete them." if page.documents else ""
    st.caption(hint if opened_document()[0] is None else "", width="stretch")


# --- one document -------------------------------------------------------------------------------


def open_document(external_id: str, part: int = 0) -> None:
    """Puts it into the address."""
    st.query_params["doc"] = external_id
    st.query_params["part"] = str(part)


def close_document() -> None:
    for key in ("doc", "part"):
        st.query_params.pop(key, None)


def opened_document() -> tuple[str | None, int]:
    """(external id, part) that the address names; None for none."""
    part = st.query_params.get("part", "")
    is_number = part.isascii() and part.isdigit() and len(part) < 10
    return st.query_params.get("doc") or None, int(part) if is_number else 0


def chosen_part(document: DocumentParts, part: int) -> StoredDocument:
    """That part, or the first where there is none (any more)."""
    return next((found for found in document.parts if found.part == part), document.parts[0])


def show_document(document: DocumentParts, shown: StoredDocument, hits: Sequence[Hit]) -> None:
    """A document in full: its parts on the left, what belongs to the shown one on the right.

    hits: the neighbours of that part.
    """
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(shown.title or document.external_id), anchor=False, width="stretch")
            st.button("Close", icon=":material/close:", type="tertiary", on_click=close_document)
        _show_labels(document, shown)
        texts, facts = st.columns([3, 2], gap="medium")
        with texts:
            _show_parts(document, shown)
        with facts:
            _show_embedding(shown)
            _show_neighbours(shown, hits)
            st.markdown("**Metadata**")
            if shown.metadata:
                st.json(dict(shown.metadata), expanded=True)
            else:
                st.caption("none")


def _show_labels(document: DocumentParts, shown: StoredDocument) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if shown.category:
            st.badge(escape(shown.category), color="gray")
        if document.part_count > 1:
            st.badge(format_count(document.part_count, "part"), color="blue")
        st.caption(
            f"id {escape(document.external_id)} · changed {shown.updated_at:%Y-%m-%d %H:%M} · "
            f"first stored {shown.created_at:%Y-%m-%d %H:%M}",
            width="content",
        )


def _show_parts(document: DocumentParts, shown: StoredDocument) -> None:
    for part in document.parts:
        if document.part_count > 1:
            address = document_params(document.external_id, part.part)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(
                    f"**Part {part.part + 1} of {document.part_count:,}**" + _place(part.metadata),
                    width="content",
                )
                if part is not shown:
                    st.page_link("pages/browse.py", label="Its embedding", query_params=address)
        long = len(part.content) > 1500
        st.code(
            part.content, language=None, wrap_lines=True, height=_TEXT_HEIGHT if long else "content"
        )
    first, last = document.parts[0].part, document.parts[-1].part
    if first > 0:
        st.page_link(
            "pages/browse.py",
            label="The parts before these",
            icon=":material/arrow_back:",
            query_params=document_params(document.external_id, first - 1),
        )
    if last + 1 < document.part_count:
        st.page_link(
            "pages/browse.py",
            label="The parts after these",
            icon=":material/arrow_forward:",
            query_params=document_params(document.external_id, last + 1),
        )


def _place(metadata: Mapping[str, Any]) -> str:
    words = place_words(metadata)
    return f" · {escape(words)}" if words else ""


def _show_embedding(document: StoredDocument) -> None:
    st.markdown("**Embedding**")
    if document.embedding is None:
        if document.embedding_error is None:
            st.warning("Not embedded yet: found by words only.", icon=":material/pending:")
        else:
            st.error(
                f"Could not be embedded: {escape(document.embedding_error)}",
                icon=":material/error:",
            )
        return
    numbers = ", ".join(f"{number:.4f}" for number in document.first_numbers)
    st.caption(
        f"{len(document.embedding):,} dimensions · norm (length) {document.norm:.4f} · begins "
        f"[{numbers}, …]".replace("[", "\\[")
    )


def _show_neighbours(document: StoredDocument, hits: Sequence[Hit]) -> None:
    if document.embedding is None:
        return
    st.markdown("**Nearest to it**", help="By comparing all documents: exact.")
    if not hits:
        st.caption("There is no other document with an embedding.")
    for hit in hits:
        found = hit.document
        title = found.title or found.external_id or ""
        part = f" (part {found.part + 1})" if found.part else ""
        st.page_link(
            "pages/browse.py",
            label=f"{hit.similarity:.3f} · {escape(title)}{part}",
            query_params=document_params(found.external_id or "", found.part),
        )
    if document.title:
        st.page_link(
            "pages/search.py",
            label="Search with its title",
            icon=":material/search:",
            query_params={**collection_params(), "q": document.title},
        )


# --- exporting ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExportChoice:
    """What is to be written, and how."""

    file_format: ExportFormat
    with_embeddings: bool
    where: DocumentFilter


def export_menu(where: DocumentFilter) -> ExportChoice | None:
    """The choice, once Export was pressed."""
    opened = st.session_state.get(_MENU, 0)
    with st.popover("Export", icon=":material/download:", key=f"{_MENU}:{opened}"):
        file_format = st.segmented_control(
            "As",
            list(ExportFormat),
            format_func=lambda found: found.label,
            default=ExportFormat.JSONL,
            required=True,
            help="**JSON Lines**: a text, one document a line.  \n**Parquet**: smaller, for "
            "pandas, DuckDB and the like.  \nBoth load back to the same by Upload.",
        )
        with_embeddings = st.toggle(
            "With embeddings", help="Then loading it back needs no model; the file is larger."
        )
        filtered = not where.is_empty and st.toggle("Only the documents of this list", value=True)
        pressed = st.button(
            "Export", type="primary", icon=":material/download:", on_click=_close_menu
        )
    if not pressed:
        return None
    return ExportChoice(
        file_format or ExportFormat.JSONL, with_embeddings, where if filtered else EVERYTHING
    )


def _close_menu() -> None:
    """A popover with a new key is a new one, and closed."""
    st.session_state[_MENU] = st.session_state.get(_MENU, 0) + 1


def show_exported(job: Job, folder: Path) -> None:
    """How the last export ended; where it lies in that folder, the file to download."""
    path = Path((job.result or {}).get("path", ""))
    if job.status is not JobStatus.DONE or not path.is_file():
        show_ended(job)
        return
    if not is_news(job):
        return
    result = job.result or {}
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(
            f"**{escape(path.name)}**: {format_count(result['documents'], 'document')}, "
            f"{format_bytes(result['size_bytes'])}",
            width="stretch",
        )
        if path.parent == folder.absolute() and result["size_bytes"] <= MOST_DOWNLOAD_BYTES:
            st.download_button(
                "Download",
                data=path.read_bytes,
                file_name=path.name,
                mime="application/octet-stream",
                icon=":material/download:",
                on_click="ignore",
            )
        else:
            st.code(str(path), language=None)


# --- deleting -----------------------------------------------------------------------------------


def removal_button(ticked: Sequence[DocumentLine], where: DocumentFilter) -> DocumentFilter | None:
    """What is to be deleted, once it was pressed; it is asked about again then."""
    ids = tuple(dict.fromkeys(document.external_id for document in ticked))
    if ids and st.button(f"Delete {format_count(len(ids), 'ticked document')}", icon=_DELETE):
        return DocumentFilter(external_ids=ids)
    if not ids and not where.is_empty and st.button("Delete all of these", icon=_DELETE):
        return where
    return None


def confirm_removal(removal: Removal) -> bool:
    """The question before the deed; true once it was said yes to. A count that changed meanwhile
    is another question."""
    st.markdown(
        f"**{format_count(removal.documents, 'document')}** "
        f"({format_count(removal.external_ids, 'id')}) will "
        "be gone for good. A document goes with all of its parts."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep them"):
            st.rerun()
        return st.button(
            "Delete for good",
            key=f"delete_{removal.documents}_{removal.external_ids}",
            type="primary",
            icon=":material/delete_forever:",
            disabled=not removal.documents,
        )
