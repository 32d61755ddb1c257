"""What exactly is stored, and what is next to it?"""

import streamlit as st

from lib.ingest.export import export_folder, start_kept_export
from lib.services import Services
from lib.store.browse import (
    DocumentFilter,
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
from lib.store.jobs import JobKind
from lib.ui.browse.documents import (
    chosen_part,
    close_document,
    confirm_removal,
    export_menu,
    list_controls,
    opened_document,
    paging,
    removal_button,
    show_document,
    show_exported,
    show_list,
    show_pager,
    show_total,
)
from lib.ui.shared.empty_states import nothing_embedded
from lib.ui.shared.model import PageModel
from lib.ui.shared.page import BROWSE, guarded, refresh, start_page, watch_jobs
from lib.ui.shared.widgets import page_head


def body(model: PageModel) -> None:
    services = model.services
    database = services.database
    head = page_head(database.query(list_collections))
    if head is None:
        return
    collection, settings, answer = head
    with settings:
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
        show_total(database.query(count_documents, collection, where), where)
        ticked = show_list(page, place, order)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            show_pager(page, place)
            export(services, collection, where)
            unwanted = removal_button(ticked, where)
        if unwanted is not None:
            ask_to_delete(services, collection, unwanted)
        show_exports(services, collection)
        show_opened(services, collection)


def show_opened(services: Services, collection: Collection) -> None:
    external_id, part = opened_document()
    if external_id is None:
        return
    document = services.database.query(get_document, collection, external_id, part)
    shown = chosen_part(document, part)
    show_document(document, shown, services.database.query(find_neighbours, collection, shown))


@guarded
def export(services: Services, collection: Collection, where: DocumentFilter) -> None:
    chosen = export_menu(where)
    if chosen is None:
        return
    services.database.run(
        start_kept_export(
            services.jobs,
            services.database,
            services.settings.home,
            collection,
            chosen.file_format,
            with_embeddings=chosen.with_embeddings,
            where=chosen.where,
        )
    )
    refresh()


def show_exports(services: Services, collection: Collection) -> None:
    recent = services.database.run(services.jobs.recent(collection_id=collection.id))
    exports = [job for job in recent if job.kind is JobKind.EXPORT]
    watch_jobs([job for job in exports if job.active])
    for job in [job for job in exports if not job.active][:1]:
        show_exported(job, export_folder(services.settings.home))


@st.dialog("Delete these documents?", icon=":material/delete:")
@guarded
def ask_to_delete(services: Services, collection: Collection, where: DocumentFilter) -> None:
    removal = services.database.query(count_removal, collection, where)
    if confirm_removal(removal):
        services.database.query(delete_documents, collection, where, at_most=removal.documents)
        close_document()
        refresh()


start_page(BROWSE, PageModel, body)
