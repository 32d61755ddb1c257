"""Deleting documents: the button, and the question before the deed."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.formats import format_count
from lib.store.browse import DocumentFilter, DocumentLine, Removal
from lib.store.collections import Collection
from lib.ui.browse.document import close_document
from lib.ui.browse.model import BrowseModel
from lib.ui.shared.page import guarded, refresh

_DELETE = ":material/delete:"


@st.dialog("Delete these documents?", icon=_DELETE)
@guarded
def ask_to_delete(model: BrowseModel, collection: Collection, where: DocumentFilter) -> None:
    removal = model.count_removal(collection, where)
    if _confirm(removal):
        model.delete(collection, where, removal)
        close_document()
        refresh()


def removal_button(ticked: Sequence[DocumentLine], where: DocumentFilter) -> DocumentFilter | None:
    """Which documents are to be deleted, once the button was pressed."""
    ids = tuple(dict.fromkeys(document.external_id for document in ticked))
    if ids and st.button(f"Delete {format_count(len(ids), 'ticked document')}", icon=_DELETE):
        return DocumentFilter(external_ids=ids)
    if not ids and not where.is_empty and st.button("Delete all of these", icon=_DELETE):
        return where
    return None


def _confirm(removal: Removal) -> bool:
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
