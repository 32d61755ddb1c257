"""Asking by example: more like these documents, this text or this vector, and less like those.

Documents stand in the URL. A text or a vector is too long for that: the URL has a short token for
it, and what it stands for is in the browser session, or in a saved search.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import streamlit as st

from lib.errors import InvalidInput
from lib.formats import format_count, shorten
from lib.search.example import MOST_CHARACTERS, Example
from lib.search.saved import SavedSearch
from lib.store.collections import Collection
from lib.ui.search.model import SearchModel
from lib.ui.shared.links import LinkParams, current_params
from lib.ui.shared.markdown import escape

LIKE, UNLIKE, PASTED = "like", "unlike", "pasted"
_TEXT, _VECTOR, _PASTED = "example_text", "example_vector", "example:pasted"
_MAX_LABEL_CHARACTERS = 48


@dataclass(frozen=True)
class ExampleInput:
    """An example as it stands in the URL and in what was pasted, not yet checked."""

    like: tuple[uuid.UUID, ...] = ()
    unlike: tuple[uuid.UUID, ...] = ()
    text: str = ""
    vector: str = ""
    """JSON."""

    @property
    def documents(self) -> tuple[uuid.UUID, ...]:
        return (*self.like, *self.unlike)

    @classmethod
    def of(cls, example: Example) -> ExampleInput:
        """One that was saved, as it could have been entered."""
        vector = "" if example.vector is None else json.dumps(example.vector)
        return cls(example.like, example.unlike, example.text, vector)

    def example(self, collection: Collection) -> Example:
        """Raises what :meth:`~lib.search.example.Example.parse` raises."""
        return Example.parse(collection, self.like, self.unlike, self.text, self.vector)

    @property
    def token(self) -> str | None:
        """What stands for what was pasted; None where nothing was."""
        if not self.text and not self.vector:
            return None
        pasted = f"{self.text}\0{self.vector}".encode(errors="replace")
        return blake2b(pasted, digest_size=6).hexdigest()

    @property
    def params(self) -> dict[str, str]:
        """The part of the URL that asks by it."""
        parameters = {
            LIKE: ",".join(map(str, self.like)),
            UNLIKE: ",".join(map(str, self.unlike)),
            PASTED: self.token or "",
        }
        return {name: value for name, value in parameters.items() if value}


def read_example(query: str, model: SearchModel, collection: Collection) -> ExampleInput | None:
    """The example that the URL asks by; None where it is a question: who types one asks by it
    again. The saved searches are looked through where this session does not know what was
    pasted."""
    if query.strip():
        for name in (LIKE, UNLIKE, PASTED):
            st.query_params.pop(name, None)
        return None
    like, unlike = _ids(LIKE), _ids(UNLIKE)
    text, vector = _pasted(model, collection)
    return ExampleInput(like, unlike, text, vector) if like or unlike or text or vector else None


def _ids(name: str) -> tuple[uuid.UUID, ...]:
    ids, unreadable = [], []
    for typed in filter(None, st.query_params.get(name, "").split(",")):
        try:
            ids.append(uuid.UUID(typed))
        except ValueError:
            unreadable.append(typed)
    if unreadable:
        st.warning(
            f"The link asks for an example that is no document's id: {escape(unreadable[0][:80])}.",
            icon=":material/help:",
        )
    return tuple(dict.fromkeys(ids))


def _pasted(model: SearchModel, collection: Collection) -> tuple[str, str]:
    token = st.query_params.get(PASTED)
    if token is None:
        return "", ""
    if token not in st.session_state.get(_PASTED, {}):
        for saved in model.saved_searches(collection):
            example = saved_example(saved)
            if example is not None:
                _keep(example)
    pasted = st.session_state.get(_PASTED, {})
    if token not in pasted:
        st.warning(
            "The pasted example of this link stays in the browser tab that it was pasted in. "
            "Paste it again under **By example**, and save the search to share it.",
            icon=":material/help:",
        )
    text, vector = pasted.get(token, ("", ""))
    return text, vector


def _keep(example: ExampleInput) -> None:
    """Keeps what was pasted in the session, so that the URL can ask by its token."""
    if example.token is not None:
        pasted = st.session_state.get(_PASTED, {})
        st.session_state[_PASTED] = {**pasted, example.token: (example.text, example.vector)}


def saved_example(saved: SavedSearch) -> ExampleInput | None:
    """The example of a saved search; None where it asks a question, and where its settings are
    those of another version, which opening it says."""
    try:
        return None if saved.example is None else ExampleInput.of(saved.example)
    except InvalidInput:
        return None


def example_menu(dimensions: int, *, has_model: bool) -> None:
    """A text of any length, or a vector, to find more like. has_model: whether a text can be
    embedded."""
    with st.popover("By example", icon=":material/content_paste_search:", key="example_menu"):
        st.caption(
            "Finds the documents nearest to an example. **More like this** below an answer does "
            "so with that document; several of them count by their mean, less what they are to be "
            "unlike."
        )
        if has_model:
            st.text_area(
                "A text of any length",
                key=_TEXT,
                height=160,
                max_chars=MOST_CHARACTERS,
                placeholder="Paste a paragraph, a mail, a whole article",
                help="Embedded as a document would be; one that is longer than the model takes is "
                "the mean of its parts.",
            )
        st.text_area(
            "Or a vector (JSON)",
            key=_VECTOR,
            height=80,
            placeholder=f"[0.12, -0.08, …] with {dimensions:,} numbers",
            help="Such as one that another program computed with the same model.",
        )
        st.button(
            "Find more like it", type="primary", icon=":material/search:", on_click=_ask_by_pasted
        )


def _ask_by_pasted() -> None:
    text = str(st.session_state.get(_TEXT) or "").strip()
    vector = str(st.session_state.get(_VECTOR) or "").strip()
    example = ExampleInput(text=text, vector=vector)
    if example.token is None:
        return
    _keep(example)
    for name in (LIKE, UNLIKE):
        st.query_params.pop(name, None)
    st.query_params[PASTED] = example.token
    st.session_state["q"] = ""


def show_example(example: ExampleInput, labels: Mapping[uuid.UUID, str]) -> None:
    """What the answers are like, each part with a link that leaves it out, and the way back."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("**Asked by example**", width="content")
            st.page_link(
                "pages/search.py",
                label="Back to asking a question",
                icon=":material/keyboard_return:",
                query_params=current_params(**{LIKE: None, UNLIKE: None, PASTED: None}),
            )
        _part("More like", LIKE, example.like, labels, _pasted_summary(example))
        _part("Less like", UNLIKE, example.unlike, labels, None)
        st.caption("Compared by vectors alone: settings for keywords have no effect here.")


def _part(
    label: str,
    name: str,
    documents: Sequence[uuid.UUID],
    labels: Mapping[uuid.UUID, str],
    pasted: str | None,
) -> None:
    if not documents and pasted is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(label, width="content")
        if pasted is not None:
            _leave_out(pasted, current_params(**{PASTED: None}))
        for document in documents:
            others = ",".join(str(other) for other in documents if other != document)
            title = labels.get(document, f"{document} (not here)")
            _leave_out(title, current_params(**{name: others or None}))


def _leave_out(label: str, params: LinkParams) -> None:
    short = shorten(label, _MAX_LABEL_CHARACTERS)
    st.page_link(
        "pages/search.py",
        label=escape(short),
        icon=":material/close:",
        icon_position="right",
        help="Leave it out of the example.",
        query_params=params,
    )


def _pasted_summary(example: ExampleInput) -> str | None:
    parts = []
    if example.text:
        parts.append(f"a text of {format_count(len(example.text), 'character')}")
    if example.vector:
        parts.append("a vector")
    return " and ".join(parts) or None


def example_summary(example: ExampleInput) -> str:
    """In the list of saved searches, where nobody has looked up what the documents are called."""
    like = [format_count(len(example.like), "document")] if example.like else []
    summary = f"Like {' and '.join([*filter(None, [_pasted_summary(example)]), *like])}"
    return (
        f"{summary}, unlike {format_count(len(example.unlike), 'document')}"
        if example.unlike
        else summary
    )


def example_title(example: ExampleInput, labels: Mapping[uuid.UUID, str]) -> str:
    """In the list of recent searches."""
    like = [labels.get(document, str(document)) for document in example.like]
    pasted = _pasted_summary(example)
    title = f"Like {' + '.join([*filter(None, [pasted]), *like])}"
    unlike = [labels.get(document, str(document)) for document in example.unlike]
    return f"{title} − {' − '.join(unlike)}" if unlike else title


def more_like(documents: Sequence[uuid.UUID], example: ExampleInput | None) -> LinkParams:
    """The example with these documents to be like too; on its own where there is none yet."""
    like = dict.fromkeys((*(example.like if example else ()), *documents))
    unlike = [id_ for id_ in (example.unlike if example else ()) if id_ not in like]
    return _with(list(like), unlike)


def less_like(documents: Sequence[uuid.UUID], example: ExampleInput) -> LinkParams:
    """The example with these documents to be unlike too."""
    unlike = dict.fromkeys((*example.unlike, *documents))
    return _with([id_ for id_ in example.like if id_ not in unlike], list(unlike))


def _with(like: Sequence[uuid.UUID], unlike: Sequence[uuid.UUID]) -> LinkParams:
    return current_params(
        **{
            "q": None,
            LIKE: ",".join(map(str, like)) or None,
            UNLIKE: ",".join(map(str, unlike)) or None,
        }
    )
