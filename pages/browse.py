"""What exactly is stored, and what is next to it?"""

import streamlit as st

from lib.ui.browse.controls import list_controls
from lib.ui.browse.document import show_opened_document
from lib.ui.browse.document_list import current_paging, show_list, show_pager, show_total
from lib.ui.browse.exports import export_menu, show_exports
from lib.ui.browse.model import BrowseModel
from lib.ui.browse.removal import ask_to_delete, removal_button
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.page import BROWSE, start_page
from lib.ui.shared.widgets import page_head


def body(model: BrowseModel) -> None:
    head = page_head(model.list_collections())
    if head is None:
        return
    collection, settings, answer = head
    summary = model.summary(collection)
    with settings:
        where, order = list_controls(model, summary)
    with answer:
        if not summary.documents:
            nothing_embedded(summary)
            return
        paging = current_paging(collection, where, order)
        page = model.documents(collection, where, order, paging.after)
        show_total(model.count(collection, where), where)
        ticked = show_list(page, paging, order)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            show_pager(page, paging)
            export_menu(model, collection, where)
            unwanted = removal_button(ticked, where)
        if unwanted is not None:
            ask_to_delete(model, collection, unwanted)
        show_exports(model, collection)
        show_opened_document(model, collection)


start_page(BROWSE, BrowseModel, body)
