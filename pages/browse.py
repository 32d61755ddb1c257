"""What exactly is stored, and what is next to it?"""

from collections.abc import Sequence

import streamlit as st

from lib.services import Services
from lib.store.browse import (
    DocumentFilter,
    DocumentLine,
    count_documents,
    count_removal,
    delete_documents,
    find_neighbours,
    get_document,
    list_documents,
    metadata_fields,
    metadata_values,
)
from lib.store.collections import Collection, list_categories, list_collections, summarise
from lib.ui.browse import (
    chosen_part,
    close_document,
    confirm_removal,
    list_controls,
    opened_document,
    paging,
    removal_button,
    show_document,
    show_list,
    show_total,
)
from lib.ui.controls import collection_picker
from lib.ui.page import BROWSE, guarded, refresh, start_page
from lib.ui.states import no_collections, nothing_embedded


def body(services: Services) -> None:
    database = services.database
    collections = database.query(list_collections)
    if not collections:
        no_collections()
        return
    settings, answer = st.columns([1, 3], gap="large")
    with settings:
        collection = collection_picker(collections)
        summary = database.query(summarise, collection)
        where, order = list_controls(
            summary,
            database.query(list_categories, collection),
            database.query(metadata_fields, collection),
            lambda field: database.query(metadata_values, collection, field),
        )
    with answer:
        if not summary.documents:
            nothing_embedded(summary)
            return
        place = paging(collection, where, order)
        page = database.query(list_documents, collection, where, order=order, after=place.after)
        head = st.container(horizontal=True, vertical_alignment="center", gap="small")
        ticked = show_list(page, place, order)
        with head:
            show_total(database.query(count_documents, collection, where), where)
            remove(services, collection, ticked, where)
        opened = opened_document()
        if opened is not None:
            show_opened(services, collection, *opened)


def show_opened(services: Services, collection: Collection, external_id: str, part: int) -> None:
    document = services.database.query(get_document, collection, external_id, part)
    shown = chosen_part(document, part)
    hits = services.database.query(find_neighbours, collection, shown)
    show_document(document, shown, hits)


def remove(
    services: Services,
    collection: Collection,
    ticked: Sequence[DocumentLine],
    where: DocumentFilter,
) -> None:
    pressed = removal_button(ticked, where)
    if pressed is not None:
        ask_to_delete(services, collection, pressed)


@st.dialog("Delete these documents?", icon=":material/delete:")
@guarded
def ask_to_delete(services: Services, collection: Collection, where: DocumentFilter) -> None:
    removal = services.database.query(count_removal, collection, where)
    if confirm_removal(removal):
        services.database.query(delete_documents, collection, where, at_most=removal.documents)
        close_document()
        refresh()


start_page(BROWSE, body)
