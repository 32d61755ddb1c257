"""Asking by example: more like these documents, this text or this vector, and less like those.

Documents stand in the address. A text or a vector is too long for one: the address has a short
token for it, and what it stands for is kept by the browser session, or with a saved search.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import streamlit as st

from lib.errors import InvalidInput
from lib.formats import format_count, shorten
from lib.search.example import MOST_CHARACTERS, Example
from lib.search.saved import SavedSearch
from lib.store.collections import Collection
from lib.ui.shared.links import LinkParams, current_params
from lib.ui.shared.markdown import escape

LIKE, UNLIKE, PASTED = "like", "unlike", "pasted"
_TEXT, _VECTOR, _KEPT = "example_text", "example_vector", "example:pasted"
_MOST_LABEL = 48


@dataclass(frozen=True)
class Given:
    """What the answers are to be like. vector: as JSON, as it was pasted."""

    like: tuple[uuid.UUID, ...] = ()
    unlike: tuple[uuid.UUID, ...] = ()
    text: str = ""
    vector: str = ""

    @property
    def documents(self) -> tuple[uuid.UUID, ...]:
        return (*self.like, *self.unlike)

    @classmethod
    def of(cls, example: Example) -> Given:
        """One that was saved, as it could have been given."""
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
    def address(self) -> dict[str, str]:
        """The part of the address that asks by it."""
        found = {
            LIKE: ",".join(map(str, self.like)),
            UNLIKE: ",".join(map(str, self.unlike)),
            PASTED: self.token or "",
        }
        return {name: value for name, value in found.items() if value}


def given_example(query: str, list_saved: Callable[[], Sequence[SavedSearch]]) -> Given | None:
    """The example that the address asks by; None where it is a question: who types one asks by
    words again. list_saved: called where this session knows nothing of what was pasted."""
    if query.strip():
        for name in (LIKE, UNLIKE, PASTED):
            st.query_params.pop(name, None)
        return None
    like, unlike = _ids(LIKE), _ids(UNLIKE)
    text, vector = _pasted(list_saved)
    return Given(like, unlike, text, vector) if like or unlike or text or vector else None


def _ids(name: str) -> tuple[uuid.UUID, ...]:
    found, odd = [], []
    for typed in filter(None, st.query_params.get(name, "").split(",")):
        try:
            found.append(uuid.UUID(typed))
        except ValueError:
            odd.append(typed)
    if odd:
        st.warning(
            f"The address asks for an example that is no document's id: {escape(odd[0][:80])}.",
            icon=":material/help:",
        )
    return tuple(dict.fromkeys(found))


def _pasted(list_saved: Callable[[], Sequence[SavedSearch]]) -> tuple[str, str]:
    token = st.query_params.get(PASTED)
    if token is None:
        return "", ""
    kept = st.session_state.get(_KEPT, {})
    if token not in kept:
        for given in filter(None, map(saved_example, list_saved())):
            _keep(given)
        kept = st.session_state.get(_KEPT, {})
    if token not in kept:
        st.warning(
            "The pasted example of this link stays in the browser tab that it was pasted in. "
            "Paste it again under **By example**, and save the search to share it.",
            icon=":material/help:",
        )
    text, vector = kept.get(token, ("", ""))
    return text, vector


def _keep(given: Given) -> None:
    """What was pasted, so that the address can ask by its token."""
    if given.token is not None:
        kept = st.session_state.get(_KEPT, {})
        st.session_state[_KEPT] = {**kept, given.token: (given.text, given.vector)}


def saved_example(saved: SavedSearch) -> Given | None:
    """What a saved search asks by in place of a question; None too where its settings are those
    of another version, which opening it says."""
    try:
        return None if saved.example is None else Given.of(saved.example)
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
    given = Given(text=text, vector=vector)
    if given.token is None:
        return
    _keep(given)
    for name in (LIKE, UNLIKE):
        st.query_params.pop(name, None)
    st.query_params[PASTED] = given.token
    st.session_state["q"] = ""


def show_example(given: Given, labels: Mapping[uuid.UUID, str]) -> None:
    """What the answers are like, each part with a link that leaves it out, and the way back."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("**Asked by example**", width="content")
            st.page_link(
                "pages/search.py",
                label="Back to asking by words",
                icon=":material/keyboard_return:",
                query_params=current_params(**{LIKE: None, UNLIKE: None, PASTED: None}),
            )
        _part("More like", LIKE, given.like, labels, _pasted_words(given))
        _part("Less like", UNLIKE, given.unlike, labels, None)
        st.caption("Compared by meaning alone: settings for words have no effect here.")


def _part(
    words: str,
    name: str,
    documents: Sequence[uuid.UUID],
    labels: Mapping[uuid.UUID, str],
    pasted: str | None,
) -> None:
    if not documents and pasted is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(words, width="content")
        if pasted is not None:
            _leave_out(pasted, current_params(**{PASTED: None}))
        for document in documents:
            others = ",".join(str(other) for other in documents if other != document)
            label = labels.get(document, f"{document} (not here)")
            _leave_out(label, current_params(**{name: others or None}))


def _leave_out(label: str, address: LinkParams) -> None:
    short = shorten(label, _MOST_LABEL)
    st.page_link(
        "pages/search.py",
        label=escape(short),
        icon=":material/close:",
        icon_position="right",
        help="Leave it out of the example.",
        query_params=address,
    )


def _pasted_words(given: Given) -> str | None:
    parts = []
    if given.text:
        parts.append(f"a text of {format_count(len(given.text), 'character')}")
    if given.vector:
        parts.append("a vector")
    return " and ".join(parts) or None


def example_words(given: Given) -> str:
    """In the list of saved searches, where nobody has looked up what the documents are called."""
    like = [format_count(len(given.like), "document")] if given.like else []
    words = f"Like {' and '.join([*filter(None, [_pasted_words(given)]), *like])}"
    return (
        f"{words}, unlike {format_count(len(given.unlike), 'document')}" if given.unlike else words
    )


def example_title(given: Given, labels: Mapping[uuid.UUID, str]) -> str:
    """In the list of recent searches."""
    like = [labels.get(document, str(document)) for document in given.like]
    pasted = _pasted_words(given)
    title = f"Like {' + '.join([*filter(None, [pasted]), *like])}"
    unlike = [labels.get(document, str(document)) for document in given.unlike]
    return f"{title} − {' − '.join(unlike)}" if unlike else title


def more_like(documents: Sequence[uuid.UUID], given: Given | None) -> LinkParams:
    """The example with these documents to be like too; on its own where there is none yet."""
    like = dict.fromkeys((*(given.like if given else ()), *documents))
    unlike = [each for each in (given.unlike if given else ()) if each not in like]
    return _with(list(like), unlike)


def less_like(documents: Sequence[uuid.UUID], given: Given) -> LinkParams:
    """The example with these documents to be unlike too."""
    unlike = dict.fromkeys((*given.unlike, *documents))
    return _with([each for each in given.like if each not in unlike], list(unlike))


def _with(like: Sequence[uuid.UUID], unlike: Sequence[uuid.UUID]) -> LinkParams:
    return current_params(
        **{
            "q": None,
            LIKE: ",".join(map(str, like)) or None,
            UNLIKE: ",".join(map(str, unlike)) or None,
        }
    )
