"""Addresses of other pages, for links that open just what is meant."""

from __future__ import annotations

import streamlit as st


def collection_address() -> dict[str, str]:
    """The collection that is looked at; the first one of the list is in no address."""
    return {"c": st.query_params["c"]} if "c" in st.query_params else {}


def document_address(external_id: str, part: int | None = None) -> dict[str, str]:
    """On the Browse page, a document of the collection that is looked at."""
    address = {**collection_address(), "doc": external_id}
    return address | {"part": str(part)} if part else address
