"""Search results as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.formats import format_count, format_ms
from lib.search.labels import (
    DISTANCE_THRESHOLD_LABEL,
    ITERATIVE_SCAN_LABEL,
    ITERATIVE_SCANS,
    MODES,
    SCANS,
    TEXT_METHODS,
    TEXT_QUERY_LABEL,
)
from lib.search.request import Mode, SearchRequest
from lib.search.snippets import Snippet
from lib.ui.search.example import ExampleInput, less_like, more_like
from lib.ui.search.figures import BAR_WIDTH, contribution_bar, swatch
from lib.ui.search.model import Answer, Search
from lib.ui.shared.charts import TEXT, VECTOR
from lib.ui.shared.links import LinkParams, Remedy, current_params, document_params, show_remedies
from lib.ui.shared.markdown import HEADINGS_FIELD, PLACE_FIELDS, escape, place_words
from lib.ui.shared.url_state import by_value
from lib.ui.shared.widgets import segmented
from lib.vectors.catalog import IndexDescription
from lib.vectors.index_methods import IterativeScan
from lib.vectors.plans import Plan
from lib.vectors.search import Document, SearchResult
from lib.vectors.statements import TextQuery
from lib.vectors.tuning import Scan

MAX_EXAMPLES = 3
# So few documents with the words that it is worth saying why.
FEW_MATCHES = 3
_MAX_METADATA_FIELDS = 5
_MAX_VALUE_CHARACTERS = 60


def row() -> DeltaGenerator:
    """Controls side by side."""
    return st.container(horizontal=True, vertical_alignment="center", gap="small")


def show_first_questions(questions: Sequence[str]) -> None:
    """What to ask first, each a link to its own answer."""
    if not questions:
        return
    st.markdown("Try one of these:")
    for question in questions[:MAX_EXAMPLES]:
        st.page_link(
            "pages/search.py",
            label=escape(question),
            icon=":material/arrow_forward:",
            query_params=current_params(q=question),
        )


def show_summary(search: Search) -> None:
    """One line: how many, how long, and what kind of answer this is; and what helps where the index
    fell short."""
    result, request, index = search.result, search.request, search.index
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(_counts(result, request), width="content")
        _plan_badge(search.plan, request, index)
        if result.index_fell_short:
            st.badge("Fewer than asked", color="orange", icon=":material/content_cut:")
    if result.truncated_because is not None and request.mode is not Mode.TEXT:
        st.caption(escape(result.truncated_because))
    if result.index_fell_short and index is not None:
        show_remedies(_more_from_index(request, index), icon=":material/build:")


def _counts(result: SearchResult, request: SearchRequest) -> str:
    parts = [f"**{format_count(len(result), 'document')}**"]
    if result.matches is not None and request.mode.uses_text:
        verb = "matches" if result.matches == 1 else "match"
        least = "at least " if result.more_match else ""
        parts.append(f"{least}{result.matches:,} {verb} the keywords")
    if result.embedding_ms is not None:
        parts.append(f"{format_ms(result.embedding_ms)} to embed the question")
    parts.append(f"{format_ms(result.database_ms)} in the database")
    return " · ".join(parts)


def _plan_badge(plan: Plan | None, request: SearchRequest, index: IndexDescription | None) -> None:
    if not request.mode.uses_vectors:
        st.badge(
            "Full text",
            color="green",
            icon=":material/match_word:",
            help="Found by their keywords alone. **Plan** says by which index.",
        )
    elif plan is not None and plan.vector_index is not None:
        st.badge(
            "Approximate",
            color="blue",
            icon=":material/bolt:",
            help=f"{escape(plan.summary)} An index is quick, and may miss true neighbours.",
        )
    else:
        st.badge(
            "Exact",
            color="gray",
            icon=":material/done_all:",
            help=f"Every document was compared, and nothing was missed. "
            f"{_why_exact(request, index)}",
        )


def _why_exact(request: SearchRequest, index: IndexDescription | None) -> str:
    if index is None:
        return "The collection has no vector index."
    if request.settings.scan is Scan.EXACT:
        return "That is what **More** asks for."
    if request.settings.scan is Scan.INDEX:
        return f"PostgreSQL cannot use the index {escape(index.name)} for this search."
    small = "the filter leaves few of them" if request.filtered else "the collection is small"
    return (
        f"PostgreSQL chose to compare every document although there is an index: {small}, so "
        "that it reckons this to be quicker. **More** can ask for the index."
    )


def _more_from_index(request: SearchRequest, index: IndexDescription) -> list[Remedy]:
    """What brings more out of an index: this search with another setting."""
    settings = request.settings
    remedies = []
    if request.filtered and settings.iterative_scan is IterativeScan.OFF:
        remedies += [
            Remedy(_iterative(scan), current_params(iterative=scan))
            for scan in (IterativeScan.STRICT, IterativeScan.RELAXED)
        ]
    parameter = index.method.search_parameter
    value = settings.value_of(index.method) or parameter.range.default
    least = request.limit if parameter.bounds_result else 1
    more = min(max(4 * value, least), parameter.highest(index.options))
    if more > value:
        change = {parameter.link: str(more)}
        remedies.append(Remedy(f"{parameter.label}: {more:,}", current_params(**change)))
    remedies.append(Remedy(str(SCANS[Scan.EXACT]), current_params(scan=Scan.EXACT)))
    return remedies


def _iterative(scan: IterativeScan) -> str:
    return f"{ITERATIVE_SCAN_LABEL}: {ITERATIVE_SCANS[scan].name.lower()}"


# --- few or none --------------------------------------------------------------------------------


def offer_any_word(search: Search) -> None:
    """Where so few documents have all of the words that any of them may be what is wanted: why, and
    the way out."""
    result, request = search.result, search.request
    if not _lacks_matches(result, request):
        return
    matches, with_any = result.matches or 0, search.any_word_matches()
    have = (
        f"Only {format_count(matches, 'document')} {_have(matches)}"
        if matches
        else "No document has"
    )
    asked = (
        f"**{TEXT_QUERY_LABEL}** asks for all of them in one document"
        if request.text_kind is TextQuery.PLAIN
        else "a web search asks for all of them in one document, except after OR"
    )
    if not with_any:
        st.info(
            f"{have} all of these words: {asked}. No document has even one of them.",
            icon=":material/search_off:",
        )
        return
    with st.container(border=True, gap="small"):
        st.markdown(
            f":material/info: {have} all of these words: {asked}. **{with_any:,}** "
            f"{_have(with_any)} at least one."
        )
        name = f"text_{request.mode.value}"
        show_remedies([Remedy("Match any word", current_params(**{name: TextQuery.ANY}))])


def _lacks_matches(result: SearchResult, request: SearchRequest) -> bool:
    return (
        request.mode.uses_text
        and request.text_kind is not TextQuery.ANY
        and (result.matches or 0) <= FEW_MATCHES
        and len(request.query.split()) > 1
    )


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _no_answers(result: SearchResult, request: SearchRequest) -> None:
    """Why there is nothing, and the next step, where :func:`offer_any_word` did not say it."""
    if request.max_distance is not None:
        advice = (
            f"No document is nearer than {request.max_distance:g}. Move the distance up, or "
            f"switch **{DISTANCE_THRESHOLD_LABEL}** off."
        )
    elif result.index_fell_short:
        advice = "The index brought none of the documents that there are. What helps is above."
    elif request.mode is Mode.TEXT:
        if _lacks_matches(result, request):
            return
        advice = (
            f"No document has these words. Search by **{MODES[Mode.SIMILARITY]}**, or with other "
            "words."
        )
    elif request.filtered:
        advice = "No document passes the filter. Take a condition away."
    else:
        advice = "No document was found."
    st.info(advice, icon=":material/search_off:")


# --- the answers --------------------------------------------------------------------------------


class Layout(StrEnum):
    """How the answers are shown."""

    CARDS = "cards"
    TABLE = "table"


def layout_picker() -> Layout:
    """Cards or a table, in the URL."""
    labels = {
        Layout.CARDS: ":material/view_agenda: Cards",
        Layout.TABLE: ":material/table_rows: Table",
    }
    return segmented(
        "Show answers as",
        by_value(list(Layout)),
        lambda layout: labels[layout],
        key="show",
        default=Layout.CARDS,
        show_label=False,
        help_text="**Cards** to read, **Table** to compare figures, and to tick several answers.",
    )


def export_menu(search: Search) -> None:
    """The answers as a file, which is made only where it is asked for."""
    files = (
        ("CSV, for spreadsheets", "csv", "text/csv", search.csv),
        ("JSON lines, for programs", "jsonl", "application/jsonl", search.jsonl),
    )
    with st.popover("Export", icon=":material/download:", key="export_answers"):
        st.caption("These answers with all of their text, figures and metadata.")
        for label, ending, mime, make in files:
            st.download_button(
                label,
                make,
                file_name=f"answers.{ending}",
                mime=mime,
                key=f"export_{ending}",
                icon=":material/download:",
                on_click="ignore",
                width="stretch",
            )


def show_answers(search: Search, layout: Layout | None, example: ExampleInput | None) -> None:
    """Best first. example: what was asked by in place of a question."""
    answers, request = search.answers(), search.request
    if not answers:
        _no_answers(search.result, request)
        return
    if any(answer.parts is not None for answer in answers):
        _legend()
    if layout is Layout.TABLE:
        _table(answers, request, example)
        return
    longest = max((sum(answer.parts) for answer in answers if answer.parts), default=0.0)
    for rank, answer in enumerate(answers, start=1):
        _card(rank, answer, longest, request, example)


def _legend() -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("What counts in the fused value:", width="content")
        for color, name in ((VECTOR, "vectors"), (TEXT, "keywords")):
            st.image(swatch(color), width=12, alt=f"The colour of {name}")
            st.caption(name, width="content")


def _card(
    rank: int, answer: Answer, longest: float, request: SearchRequest, example: ExampleInput | None
) -> None:
    hit, document = answer.hit, answer.hit.document
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{rank}. {escape(_title(document))}**", width="content")
            if document.category:
                st.badge(escape(document.category), color="gray")
        st.markdown(_marked(answer.snippet))
        if answer.parts is not None:
            vector, text = answer.parts
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.image(
                    contribution_bar(vector, text, longest),
                    width=BAR_WIDTH,
                    alt=f"Vectors add {vector:.3g}, keywords add {text:.3g}",
                )
                st.caption(
                    f"fused {_fused(hit.fused)} = vectors {_fused(vector)} + keywords "
                    f"{_fused(text)}",
                    width="content",
                )
        for line in (_figures(answer, request), [*_places(document), *_metadata(document)]):
            if line:
                st.caption(" · ".join(line))
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            _links([document], example)


def _links(documents: Sequence[Document], example: ExampleInput | None) -> None:
    """What can be done with an answer, or with several."""
    if len(documents) == 1 and documents[0].external_id is not None:
        [document] = documents
        st.page_link(
            "pages/browse.py",
            label="Open in full",
            icon=":material/open_in_full:",
            query_params=document_params(documents[0].external_id, document.part),
        )
    ids = [document.id for document in documents]
    these = "this" if len(ids) == 1 else f"these {len(ids):,}"
    _like_link(f"More like {these}", ":material/add:", more_like(ids, example))
    if example is not None:
        _like_link(f"Less like {these}", ":material/remove:", less_like(ids, example))


def _like_link(label: str, icon: str, params: LinkParams) -> None:
    st.page_link("pages/search.py", label=label, icon=icon, query_params=params)


def _title(document: Document) -> str:
    return document.title or f"Document {document.external_id or document.id}"


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


def _fused(value: float | None) -> str:
    """Values of RRF are below 1 / 60, and differ in the fourth digit."""
    return (
        "–" if value is None else f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:.4f}"
    )


def _figures(answer: Answer, request: SearchRequest) -> list[str]:
    hit, figures = answer.hit, []
    if hit.fused is not None:
        missed = ":orange[missed by the index]"
        figures.append(missed if answer.missed else _leg_rank("vectors", hit.vector_rank))
        figures.append(_leg_rank("keywords", hit.text_rank))
    if hit.similarity is not None and hit.distance is not None:
        figures.append(f"similarity {hit.similarity:.3f} (distance {hit.distance:.3f})")
    if hit.text_value is not None:
        method = TEXT_METHODS[request.text_method].short
        figures.append(f"keyword match {hit.text_value:.4f} ({method})")
    return figures


def _leg_rank(leg: str, rank: int | None) -> str:
    return f"not found by {leg}" if rank is None else f"rank {rank:,} by {leg}"


def _places(document: Document) -> list[str]:
    """Its place in the file that it came from."""
    places = [f"part {document.part + 1:,}"] if document.part else []
    words = place_words(document.metadata or {})
    return [*places, escape(words)] if words else places


def _metadata(document: Document) -> list[str]:
    shown = [
        f"{escape(name)} {escape(_value(value))}"
        for name, value in (document.metadata or {}).items()
        if name not in PLACE_FIELDS and name != HEADINGS_FIELD and not isinstance(value, dict)
    ]
    left = len(shown) - _MAX_METADATA_FIELDS
    return [*shown[:_MAX_METADATA_FIELDS], *([f"{left:,} more fields"] if left > 0 else [])]


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else f"{text[: _MAX_VALUE_CHARACTERS - 1]}…"


# --- as a table ---------------------------------------------------------------------------------


def _table(answers: Sequence[Answer], request: SearchRequest, example: ExampleInput | None) -> None:
    hits = [answer.hit for answer in answers]
    key = f"answers:{hash(tuple(str(hit.document.id) for hit in hits))}"
    state = st.dataframe(
        _columns(answers),
        column_config=_column_settings(answers, request),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        height="content",
        placeholder="–",
        alt="The answers with their ranks, values and metadata",
    )
    ticked = [hits[row].document for row in state["selection"]["rows"] if row < len(hits)]
    if not ticked:
        st.caption("Tick answers to open one in full, or to find more like one or several.")
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        _links(ticked, example)


def _columns(answers: Sequence[Answer]) -> dict[str, list[Any]]:
    """Those in which there is anything."""
    hits = [answer.hit for answer in answers]
    documents = [hit.document for hit in hits]
    columns: dict[str, list[Any]] = {
        "rank": list(range(1, len(hits) + 1)),
        "title": [_title(document) for document in documents],
        "fused": [hit.fused for hit in hits],
        "vector_part": [answer.parts and answer.parts[0] for answer in answers],
        "text_part": [answer.parts and answer.parts[1] for answer in answers],
        "vector_rank": [hit.vector_rank if hit.fused is not None else None for hit in hits],
        "text_rank": [hit.text_rank if hit.fused is not None else None for hit in hits],
        "similarity": [hit.similarity for hit in hits],
        "distance": [hit.distance for hit in hits],
        "text_value": [hit.text_value for hit in hits],
        "category": [document.category for document in documents],
        "place": [place_words(document.metadata or {}) or None for document in documents],
        "passage": [" ".join(answer.snippet.text.split()) for answer in answers],
        "metadata": [dict(document.metadata or {}) or None for document in documents],
    }
    return {
        name: values
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def _column_settings(answers: Sequence[Answer], request: SearchRequest) -> dict[str, Any]:
    column = st.column_config
    most = max((max(answer.parts) for answer in answers if answer.parts), default=1.0) or 1.0
    method = TEXT_METHODS[request.text_method].short

    def bar(label: str, color: str) -> Any:
        return column.ProgressColumn(
            label,
            format="%.4f" if most < 0.1 else "%.3f",
            min_value=0.0,
            max_value=most,
            color=color,
            width=115,
            help="What this side adds to the fused value.",
        )

    return {
        "rank": column.NumberColumn("#", width=40, pinned=True, format="%d"),
        "title": column.TextColumn("Title", width="medium", pinned=True),
        "fused": column.NumberColumn("Fused", format="%.4f" if most < 0.1 else "%.3f", width=70),
        "vector_part": bar("Vectors add", VECTOR),
        "text_part": bar("Keywords add", TEXT),
        "vector_rank": column.NumberColumn("Vector rank", width=110),
        "text_rank": column.NumberColumn("Keyword rank", width=105),
        "similarity": column.NumberColumn("Similarity", format="%.3f", width=80),
        "distance": column.NumberColumn("Distance", format="%.3f", width=80),
        "text_value": column.NumberColumn(f"Match ({method})", format="%.4f", width=125),
        "category": column.TextColumn("Category", width="small"),
        "place": column.TextColumn("Place in the file", width="small"),
        "passage": column.TextColumn("Best passage", width="large"),
        "metadata": column.JsonColumn("Metadata", width="medium"),
    }
