"""Words that set documents apart: class-based TF-IDF over the lexemes that the server keeps.

Of a word t in a class c: n / N · ln(1 + A / f), n being in how many of the class's documents t is,
N the sum of n over all words of the class, f in how many of all documents t is, and A the mean of
N over the classes (Grootendorst 2022, "BERTopic: Neural topic modeling with a class-based TF-IDF
procedure"). Documents are counted rather than occurrences, so that one long document does not name
its cluster; and a word must be more frequent in the class than in all.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Text,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR, UUID, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from lib.errors import InvalidInput
from lib.store.collections import Collection
from lib.vectors.table import VectorTable

WORDS = 8
NAME_WORDS = 3
_MOST_DOCUMENTS = 400  # of one class are read; drawn with a seed
_MOST_OTHERS = 3_000  # documents that a selection is compared with
_MOST_TEXTS = 4_000  # documents in which the readable forms are looked for
_TEXT_CHARACTERS = 2_000
_SEED = 0


async def name_clusters(
    db: AsyncSession,
    collection: Collection,
    ids: npt.NDArray[np.object_],
    labels: npt.NDArray[np.int32],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(names, words), by label. ids: (n,) documents; labels: (n,), below 0 for none.

    A cluster without any telling word is called by its number.
    """
    count = int(labels.max(initial=-1)) + 1
    chosen, scales = _drawn(labels)
    found = await _telling(db, collection, ids[chosen].tolist(), labels[chosen], scales, None)
    words = tuple(tuple(found.get(label, ())) for label in range(count))
    names: list[str] = []
    for label, telling in enumerate(words):
        name = ", ".join(telling[:NAME_WORDS]) or f"Cluster {label + 1}"
        if name in names:
            name = f"{name} ({label + 1})"
        names.append(name)
    return tuple(names), words


async def words_apart(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> tuple[str, ...]:
    """The words that set these documents apart from the collection's others, the most telling
    first; empty where none does. The others count as classes of the selection's size.

    Raises InvalidInput where there are no ids.
    """
    if not len(ids):
        raise InvalidInput("No documents are selected.", hint="Select some on the map.")
    table = collection.table
    id_ = table.column(table.id)
    selected = bindparam("ids", list(ids), type_=ARRAY(UUID(as_uuid=True)))
    # Ids are random, so the first ones are a sample.
    drawn = select(id_).where(id_ != func.all(selected)).order_by(id_).limit(_MOST_OTHERS)
    others = (await db.scalars(drawn)).all()
    total = int(await db.scalar(select(func.count()).select_from(table.rows)) or 0)
    chosen, scales = _drawn(np.zeros(len(ids), dtype=np.int32))
    read = [ids[place] for place in chosen.tolist()]
    labels = np.array([0] * len(read) + [-1] * len(others), dtype=np.int32)
    scales[-1] = max(1.0, (total - len(ids)) / max(len(others), 1))
    share = len(ids) / max(total, 1)
    found = await _telling(db, collection, [*read, *others], labels, scales, share)
    return tuple(found.get(0, ()))


def _drawn(labels: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], dict[int, float]]:
    """Places of at most _MOST_DOCUMENTS of each label, and how many documents each stands for."""
    random = np.random.default_rng(_SEED)
    chosen, scales = [], {}
    for label in np.unique(labels).tolist():
        places = np.flatnonzero(labels == label)
        scales[label] = max(1.0, len(places) / _MOST_DOCUMENTS)
        if len(places) > _MOST_DOCUMENTS:
            places = np.sort(random.choice(places, _MOST_DOCUMENTS, replace=False))
        chosen.append(places)
    return np.concatenate(chosen) if chosen else np.arange(0), scales


async def _telling(
    db: AsyncSession,
    collection: Collection,
    ids: list[Any],
    labels: npt.NDArray[np.int32],
    scales: dict[int, float],
    size_share: float | None,
) -> dict[int, list[str]]:
    """Label → its words, for labels from 0 on.

    scales: how many documents each read one stands for. size_share: of a selection among all
    documents, where A is not the mean over classes but what a class of that size would have.
    """
    table = collection.table
    vector = _vector(table)
    chosen = select(
        func.unnest(bindparam("ids", ids, type_=ARRAY(UUID(as_uuid=True)))).label("id"),
        func.unnest(bindparam("labels", labels.tolist(), type_=ARRAY(Integer))).label("label"),
        func.unnest(
            bindparam("scales", [scales[n] for n in labels.tolist()], type_=ARRAY(Double))
        ).label("scale"),
    ).cte("chosen")
    word = func.unnest(vector).table_valued("lexeme", "positions", "weights").render_derived("w")
    counts = (
        select(chosen.c.label, word.c.lexeme, func.sum(chosen.c.scale).label("n"))
        .select_from(chosen)
        .join(table.rows, table.column(table.id) == chosen.c.id)
        .join(word, literal_column("true"))
        # A single letter names nothing, nor does an address or the name of a file.
        .where(word.c.lexeme.op("~")("[[:alpha:]].*[[:alpha:]]"), word.c.lexeme.op("!~")("[./@:]"))
        .group_by(chosen.c.label, word.c.lexeme)
        .cte("counts")
    )
    sizes = (
        select(chosen.c.label, func.sum(chosen.c.scale).label("documents"))
        .group_by(chosen.c.label)
        .cte("sizes")
    )
    over_class = func.sum(counts.c.n).over(partition_by=counts.c.label)
    over_word = func.sum(counts.c.n).over(partition_by=counts.c.lexeme)
    all_words = select(func.sum(counts.c.n)).scalar_subquery()
    all_documents = select(func.sum(sizes.c.documents)).scalar_subquery()
    classes = select(func.count()).select_from(sizes).scalar_subquery()
    average = all_words / classes if size_share is None else all_words * size_share
    weighed = (
        select(
            counts.c.label,
            counts.c.lexeme,
            counts.c.n,
            sizes.c.documents,
            over_word.label("f"),
            (counts.c.n / over_class * func.ln(1 + cast(average, Double) / over_word)).label(
                "weight"
            ),
        )
        .join(sizes, sizes.c.label == counts.c.label)
        .cte("weighed")
    )
    rank = func.row_number().over(
        partition_by=weighed.c.label, order_by=(weighed.c.weight.desc(), weighed.c.lexeme)
    )
    ranked = (
        select(weighed.c.label, weighed.c.lexeme, rank.label("rank"))
        .where(
            weighed.c.label >= 0,
            weighed.c.n / weighed.c.documents > weighed.c.f / all_documents,
            # In two documents, so that a name says what they share; of a single one it is its own.
            weighed.c.n >= func.least(2, weighed.c.documents),
        )
        .subquery()
    )
    rows = (
        await db.execute(
            select(ranked.c.label, ranked.c.lexeme)
            .where(ranked.c.rank <= WORDS)
            .order_by(ranked.c.label, ranked.c.rank)
        )
    ).all()
    inside = [id_ for id_, label in zip(ids, labels.tolist(), strict=True) if label >= 0]
    step = max(1, len(inside) // _MOST_TEXTS)
    readable = await _readable(db, table, inside[::step], sorted({row.lexeme for row in rows}))
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.label, []).append(readable.get(row.lexeme, row.lexeme))
    return found


async def _readable(
    db: AsyncSession, table: VectorTable, ids: list[Any], lexemes: list[str]
) -> dict[str, str]:
    """Lexeme → the form in which the documents have it most often, in small letters."""
    if not lexemes:
        return {}
    texts = [table.column(name) for name in (table.title, table.content) if name is not None]
    text = func.left(func.concat_ws(" ", *texts), _TEXT_CHARACTERS)
    part = func.ts_parse("default", text).table_valued("tokid", "token").render_derived("p")
    form = func.lower(part.c.token)
    forms = (
        select(form.label("form"), func.count().label("n"))
        .select_from(table.rows)
        .join(part, literal_column("true"))
        .where(
            table.column(table.id) == func.any(bindparam("ids", ids, type_=ARRAY(UUID))),
            form.op("~")("[[:alpha:]]"),
        )
        .group_by(form)
        .cte("forms")
    )
    config: ColumnElement[Any] = literal_column(f"'{table.text_config}'::regconfig")
    lexeme = (
        func.unnest(func.to_tsvector(config, forms.c.form))
        .table_valued("lexeme", "positions", "weights")
        .render_derived("w")
    )
    rows = await db.execute(
        select(lexeme.c.lexeme, forms.c.form)
        .ext(distinct_on(lexeme.c.lexeme))
        .select_from(forms)
        .join(lexeme, literal_column("true"))
        .where(lexeme.c.lexeme == func.any(bindparam("lexemes", lexemes, type_=ARRAY(Text))))
        .order_by(lexeme.c.lexeme, forms.c.n.desc(), func.length(forms.c.form), forms.c.form)
    )
    return {row.lexeme: row.form for row in rows}


def _vector(table: VectorTable) -> ColumnElement[Any]:
    if table.search_vector is not None:
        return table.column(table.search_vector)
    config: ColumnElement[Any] = literal_column(f"'{table.text_config}'::regconfig")
    content = literal("") if table.content is None else table.column(table.content)
    return func.to_tsvector(config, content, type_=TSVECTOR)
