"""What is in here, and is it healthy?"""

import streamlit as st

from lib.ui.collections.cards import show_card
from lib.ui.collections.model import CollectionsModel
from lib.ui.collections.new_collection import new_collection, offer_sample, welcome
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.page import COLLECTIONS, start_page, watch_jobs


def body(model: CollectionsModel) -> None:
    running = model.running_jobs()
    collections = model.list_collections()
    if not collections and not running:
        welcome(model)
    watch_jobs(running)
    last_job = model.last_job()
    if last_job is not None:
        show_ended(last_job)
    for collection in collections:
        show_card(model, collection, running)
    with st.expander("Create a collection of your own", icon=":material/add:"):
        new_collection(model)
    offer_sample(model, collections)


start_page(COLLECTIONS, CollectionsModel, body)
