"""One document in full: its parts, its embedding, its neighbours and its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib.formats import format_count
from lib.store.browse import DocumentParts, StoredDocument
from lib.store.collections import Collection
from lib.ui.browse.model import BrowseModel
from lib.ui.shared.links import collection_params, document_params
from lib.ui.shared.markdown import escape, place_words
from lib.vectors.search import Hit

_TEXT_HEIGHT = 420
_LONG_CHARACTERS = 1500


def open_document(external_id: str, part: int = 0) -> None:
    """From the next run on: the URL names it."""
    st.query_params["doc"] = external_id
    st.query_params["part"] = str(part)


def close_document() -> None:
    for key in ("doc", "part"):
        st.query_params.pop(key, None)


def opened_document() -> tuple[str | None, int]:
    """(external id, part) that the URL names; None for none."""
    part = st.query_params.get("part", "")
    is_number = part.isascii() and part.isdigit() and len(part) < 10
    return st.query_params.get("doc") or None, int(part) if is_number else 0


def show_opened_document(model: BrowseModel, collection: Collection) -> None:
    """The document that the URL names; nothing where it names none."""
    external_id, part = opened_document()
    if external_id is None:
        return
    document = model.document(collection, external_id, part)
    # The first part, where there is none of that number (any more).
    shown = next((other for other in document.parts if other.part == part), document.parts[0])
    _show_document(document, shown, model.neighbours(collection, shown))


def _show_document(document: DocumentParts, shown: StoredDocument, hits: Sequence[Hit]) -> None:
    """A document in full: its parts on the left, what belongs to the shown one on the right.

    hits: the neighbours of that part.
    """
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(shown.title or document.external_id), anchor=False, width="stretch")
            st.button("Close", icon=":material/close:", type="tertiary", on_click=close_document)
        _show_labels(document, shown)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _show_parts(document, shown)
        with right:
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
            link = document_params(document.external_id, part.part)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(
                    f"**Part {part.part + 1} of {document.part_count:,}**" + _place(part.metadata),
                    width="content",
                )
                if part is not shown:
                    st.page_link("pages/browse.py", label="Its embedding", query_params=link)
        is_long = len(part.content) > _LONG_CHARACTERS
        st.code(
            part.content,
            language=None,
            wrap_lines=True,
            height=_TEXT_HEIGHT if is_long else "content",
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
    place = place_words(metadata)
    return f" · {escape(place)}" if place else ""


def _show_embedding(document: StoredDocument) -> None:
    st.markdown("**Embedding**")
    if document.embedding is None:
        if document.embedding_error is None:
            st.warning("Not embedded yet: found by keyword search only.", icon=":material/pending:")
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
        neighbour = hit.document
        title = neighbour.title or neighbour.external_id or ""
        part = f" (part {neighbour.part + 1})" if neighbour.part else ""
        st.page_link(
            "pages/browse.py",
            label=f"{hit.similarity:.3f} · {escape(title)}{part}",
            query_params=document_params(neighbour.external_id or "", neighbour.part),
        )
    if document.title:
        st.page_link(
            "pages/search.py",
            label="Search with its title",
            icon=":material/search:",
            query_params={**collection_params(), "q": document.title},
        )
