"""Search results as people read them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lib.search.request import Mode, SearchRequest
from lib.search.snippets import Snippet
from lib.ui.links import document_address
from lib.ui.text import count, escape, laid_out, milliseconds
from lib.vectors.indexes import IndexDescription
from lib.vectors.plans import Plan
from lib.vectors.search import Hit, SearchResult
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan

MOST_EXAMPLES = 3


def show_examples(examples: Sequence[str]) -> None:
    """What to ask first, each a link to its own answer."""
    if not examples:
        return
    st.markdown("Try one of these:")
    for example in examples[:MOST_EXAMPLES]:
        st.page_link(
            "pages/search.py",
            label=escape(example),
            icon=":material/arrow_forward:",
            query_params={**dict(st.query_params), "q": example},
        )


def show_summary(
    result: SearchResult, plan: Plan, request: SearchRequest, index: IndexDescription | None
) -> None:
    """One line: how many, how long, and what kind of answer this is. index: the collection's."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(_found_words(result, request), width="content")
        _plan_badge(plan, request, index)
        if result.truncated_because is not None:
            st.badge("Fewer than asked", color="orange", icon=":material/content_cut:")
    if result.truncated_because is not None:
        st.caption(escape(result.truncated_because))


def _found_words(result: SearchResult, request: SearchRequest) -> str:
    words = [f"**{count(len(result), 'document')}**"]
    if result.matches is not None and request.mode.uses_text:
        verb = "matches" if result.matches == 1 else "match"
        words.append(f"{result.matches:,} {verb} the words")
    if result.embedding_ms is not None:
        words.append(f"{milliseconds(result.embedding_ms)} to embed the question")
    words.append(f"{milliseconds(result.database_ms)} in the database")
    return " · ".join(words)


def _plan_badge(plan: Plan, request: SearchRequest, index: IndexDescription | None) -> None:
    summary = escape(plan.summary)
    if not request.mode.uses_vectors:
        st.badge("Full text", color="green", icon=":material/match_word:", help=summary)
    elif plan.vector_index is not None:
        st.badge(
            "Approximate",
            color="blue",
            icon=":material/bolt:",
            help=f"{summary} An index is quick, and may miss true neighbours.",
        )
    else:
        st.badge(
            "Exact",
            color="gray",
            icon=":material/done_all:",
            help=f"{summary} Nothing was missed. {_why_exact(request, index)}",
        )


def _why_exact(request: SearchRequest, index: IndexDescription | None) -> str:
    if index is None:
        return "The collection has no vector index."
    if request.settings.scan is Scan.EXACT:
        return "That is what **More** asks for."
    if request.settings.scan is Scan.INDEX:
        return f"PostgreSQL cannot use the index {escape(index.name)} for this search."
    small = "the filter leaves few of them" if request.category else "the collection is small"
    return (
        f"PostgreSQL chose to compare every document although there is an index: {small}, so "
        "that it reckons this to be quicker. **More** can ask for the index."
    )


def show_no_hits(result: SearchResult, request: SearchRequest) -> None:
    """Why there is nothing, and the next step."""
    if request.mode is Mode.TEXT:
        advice = (
            "No document has all of these words. Under **More**, match **Any word** instead, or "
            "search by **Meaning**."
            if request.text_kind is not TextQuery.ANY
            else "No document has any of these words. Search by **Meaning** instead."
        )
    elif request.max_distance is not None:
        advice = (
            f"No document is nearer than {request.max_distance:g}. Move the distance up, or "
            "switch **Only near documents** off."
        )
    else:
        advice = result.truncated_because or "No document was found."
    st.info(advice, icon=":material/search_off:")


def show_hits(hits: Sequence[Hit], snippets: Sequence[Snippet]) -> None:
    """The documents as cards, best first; snippets: one for each hit."""
    for rank, (hit, snippet) in enumerate(zip(hits, snippets, strict=True), start=1):
        _card(rank, hit, snippet)


def _card(rank: int, hit: Hit, snippet: Snippet) -> None:
    document = hit.document
    title = document.title or f"Document {document.external_id or document.id}"
    with st.container(border=True, gap="small"):
        st.markdown(f"**{rank}. {escape(title)}**")
        st.markdown(_marked(snippet))
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            if document.category:
                st.badge(escape(document.category), color="gray")
            st.caption(" · ".join(_figures(hit)), width="content")
            if document.external_id is not None:
                st.page_link(
                    "pages/browse.py",
                    label="Open in full",
                    query_params=document_address(document.external_id, document.part),
                )


def _marked(snippet: Snippet) -> str:
    text = "".join(
        f":violet[**{escape(piece.text)}**]" if piece.marked else _spaced(piece.text)
        for piece in snippet.pieces
    )
    return f"{'' if snippet.begins else '… '}{text.strip()}{'' if snippet.ends else ' …'}"


def _spaced(text: str) -> str:
    """Escaped, with one space kept at either end where there was any."""
    before = " " * text[:1].isspace()
    after = " " * (text[-1:].isspace() and bool(text.strip()))
    return f"{before}{escape(text)}{after}"


def _figures(hit: Hit) -> list[str]:
    figures = []
    if hit.fused is not None:
        figures.append(f"fused {hit.fused:.3f}")
        figures.append(_rank_words("meaning", hit.vector_rank))
        figures.append(_rank_words("words", hit.text_rank))
    elif hit.text_value is not None:
        figures.append(f"match of the words {hit.text_value:.4f} (ts_rank)")
    if hit.similarity is not None and hit.distance is not None:
        figures.append(f"similarity {hit.similarity:.3f} (distance {hit.distance:.3f})")
    return figures


def _rank_words(leg: str, rank: int | None) -> str:
    return f"not found by {leg}" if rank is None else f"rank {rank:,} by {leg}"


def show_sql(result: SearchResult) -> None:
    """What was asked of the server, to copy."""
    sql = laid_out(result.sql)
    long_line = " The line that runs off to the right is the question's vector."
    st.caption(
        "The whole transaction with its settings; paste it into psql."
        f"{long_line if result.embedding_ms is not None else ''}"
    )
    st.code(sql, language="sql", height=480)
    st.download_button(
        "Download (SQL)",
        sql,
        file_name="search.sql",
        mime="application/sql",
        icon=":material/download:",
        on_click="ignore",
    )
