"""Distinctive terms of documents: class-based TF-IDF over the lexemes that the server stores.

Of a term t in a class c: n / N · ln(1 + A / f), n being in how many of the class's documents t is,
N the sum of n over all terms of the class, f in how many of all documents t is, and A the mean of
N over the classes (Grootendorst 2022, "BERTopic: Neural topic modeling with a class-based TF-IDF
procedure"). Documents are counted rather than occurrences, so that one long document does not name
its cluster; and a term must be more frequent in the class than in all.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    Select,
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
from lib.projection.vectors import id_array
from lib.store.collections import Collection
from lib.vectors.table import VectorTable

MAX_TERMS = 8
NAME_TERMS = 3
_CLASS_DOCUMENTS = 400  # at most so many of one class are read; drawn with a seed
_OTHER_DOCUMENTS = 3_000  # so many documents a selection is compared with
_READABLE_DOCUMENTS = 4_000  # so many documents are read for the readable forms
_TEXT_CHARACTERS = 2_000
_SEED = 0


@dataclass(frozen=True, eq=False)
class _ClassSample:
    """Sampled documents of some classes."""

    ids: list[uuid.UUID]
    labels: list[int]
    """Of each document: its class from 0 on; below 0: one that only others are compared with."""
    scales: list[float]
    """Of each document: for how many of its class it stands."""


async def name_clusters(
    db: AsyncSession,
    collection: Collection,
    ids: npt.NDArray[np.object_],
    labels: npt.NDArray[np.int32],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(names, terms) of the clusters, by label.

    ids: (n,) documents. labels: (n,), below 0 for a document in no cluster.
    A cluster without any distinctive term is called by its number.
    """
    count = int(labels.max(initial=-1)) + 1
    by_label = await _top_terms(db, collection.table, _sample_classes(ids, labels), None)
    terms = tuple(tuple(by_label.get(label, ())) for label in range(count))
    names: list[str] = []
    for label, cluster_terms in enumerate(terms):
        name = ", ".join(cluster_terms[:NAME_TERMS]) or f"Cluster {label + 1}"
        if name in names:
            name = f"{name} ({label + 1})"
        names.append(name)
    return tuple(names), terms


async def distinctive_terms(
    db: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> tuple[str, ...]:
    """The terms that distinguish a selection of documents from the collection's others, the most
    distinctive first; empty where there is none. The others count as classes of its size.

    Raises InvalidInput where there are no ids.
    """
    if not len(ids):
        raise InvalidInput("No documents are selected.", hint="Select some on the map.")
    table = collection.table
    id_ = table.column(table.id)
    selected = bindparam("ids", list(ids), type_=ARRAY(UUID(as_uuid=True)))
    # Ids are random, so the first ones are a sample.
    first_others = select(id_).where(id_ != func.all(selected)).order_by(id_)
    others = (await db.scalars(first_others.limit(_OTHER_DOCUMENTS))).all()
    total = int(await db.scalar(select(func.count()).select_from(table.rows)) or 0)
    selection = _sample_classes(id_array(ids), np.zeros(len(ids), dtype=np.int32))
    other_scale = max(1.0, (total - len(ids)) / max(len(others), 1))
    sample = _ClassSample(
        ids=[*selection.ids, *others],
        labels=[*selection.labels, *[-1] * len(others)],
        scales=[*selection.scales, *[other_scale] * len(others)],
    )
    by_label = await _top_terms(db, table, sample, len(ids) / max(total, 1))
    return tuple(by_label.get(0, ()))


def _sample_classes(ids: npt.NDArray[np.object_], labels: npt.NDArray[np.int32]) -> _ClassSample:
    """At most _CLASS_DOCUMENTS of each class."""
    random = np.random.default_rng(_SEED)
    sampled: list[npt.NDArray[np.int64]] = []
    scales: list[float] = []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        scale = max(1.0, len(members) / _CLASS_DOCUMENTS)
        if len(members) > _CLASS_DOCUMENTS:
            members = np.sort(random.choice(members, _CLASS_DOCUMENTS, replace=False))
        sampled.append(members)
        scales += [scale] * len(members)
    indices = np.concatenate(sampled) if sampled else np.arange(0)
    return _ClassSample(ids[indices].tolist(), labels[indices].tolist(), scales)


async def _top_terms(
    db: AsyncSession, table: VectorTable, sample: _ClassSample, selection_share: float | None
) -> dict[int, list[str]]:
    """Label → its MAX_TERMS most distinctive terms, for labels from 0 on.

    selection_share: the share of a selection among all documents, where A is not the mean over the
    classes but what a class of that size would have.
    """
    ranked = _ranked_lexemes(*_count_lexemes(table, sample), selection_share).subquery()
    statement = (
        select(ranked.c.label, ranked.c.lexeme)
        .where(ranked.c.rank <= MAX_TERMS)
        .order_by(ranked.c.label, ranked.c.rank)
    )
    rows = (await db.execute(statement)).all()
    in_classes = [id_ for id_, label in zip(sample.ids, sample.labels, strict=True) if label >= 0]
    step = max(1, len(in_classes) // _READABLE_DOCUMENTS)
    lexemes = sorted({row.lexeme for row in rows})
    readable = await _readable_forms(db, table, in_classes[::step], lexemes)
    terms: dict[int, list[str]] = {}
    for row in rows:
        terms.setdefault(row.label, []).append(readable.get(row.lexeme, row.lexeme))
    return terms


def _count_lexemes(table: VectorTable, sample: _ClassSample) -> tuple[CTE, CTE]:
    """(counts, sizes): ``n``, in how many documents of each class a lexeme is, by ``label`` and
    ``lexeme``; and how many ``documents`` each class has, by ``label``."""
    sampled = select(
        func.unnest(bindparam("ids", sample.ids, type_=ARRAY(UUID(as_uuid=True)))).label("id"),
        func.unnest(bindparam("labels", sample.labels, type_=ARRAY(Integer))).label("label"),
        func.unnest(bindparam("scales", sample.scales, type_=ARRAY(Double))).label("scale"),
    ).cte("sampled")
    word = (
        func.unnest(_search_vector(table))
        .table_valued("lexeme", "positions", "weights")
        .render_derived("w")
    )
    counts = (
        select(sampled.c.label, word.c.lexeme, func.sum(sampled.c.scale).label("n"))
        .select_from(sampled)
        .join(table.rows, table.column(table.id) == sampled.c.id)
        .join(word, literal_column("true"))
        # A single letter names nothing, nor does an address or the name of a file.
        .where(word.c.lexeme.op("~")("[[:alpha:]].*[[:alpha:]]"), word.c.lexeme.op("!~")("[./@:]"))
        .group_by(sampled.c.label, word.c.lexeme)
        .cte("counts")
    )
    sizes = (
        select(sampled.c.label, func.sum(sampled.c.scale).label("documents"))
        .group_by(sampled.c.label)
        .cte("sizes")
    )
    return counts, sizes


def _ranked_lexemes(counts: CTE, sizes: CTE, selection_share: float | None) -> Select[Any]:
    """``label``, ``lexeme`` and ``rank``, 1 for the largest weight of the class; only lexemes that
    are more frequent in the class than in all documents."""
    all_counts = select(func.sum(counts.c.n)).scalar_subquery()
    all_documents = select(func.sum(sizes.c.documents)).scalar_subquery()
    if selection_share is None:
        classes = select(func.count()).select_from(sizes).scalar_subquery()
        average = all_counts / classes
    else:
        average = all_counts * selection_share
    of_class = func.sum(counts.c.n).over(partition_by=counts.c.label)
    of_lexeme = func.sum(counts.c.n).over(partition_by=counts.c.lexeme)
    inverse_frequency = func.ln(1 + cast(average, Double) / of_lexeme)
    weighted = (
        select(
            counts.c.label,
            counts.c.lexeme,
            counts.c.n,
            sizes.c.documents,
            of_lexeme.label("f"),
            (counts.c.n / of_class * inverse_frequency).label("weight"),
        )
        .join(sizes, sizes.c.label == counts.c.label)
        .cte("weighted")
    )
    rank = func.row_number().over(
        partition_by=weighted.c.label, order_by=(weighted.c.weight.desc(), weighted.c.lexeme)
    )
    return select(weighted.c.label, weighted.c.lexeme, rank.label("rank")).where(
        weighted.c.label >= 0,
        weighted.c.n / weighted.c.documents > weighted.c.f / all_documents,
        # In two documents, so that a name says what they share; of a single one it is its own.
        weighted.c.n >= func.least(2, weighted.c.documents),
    )


async def _readable_forms(
    db: AsyncSession, table: VectorTable, ids: list[Any], lexemes: list[str]
) -> dict[str, str]:
    """Lexeme → the form that is most frequent in the documents, in lower case."""
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


def _search_vector(table: VectorTable) -> ColumnElement[Any]:
    if table.search_vector is not None:
        return table.column(table.search_vector)
    config: ColumnElement[Any] = literal_column(f"'{table.text_config}'::regconfig")
    content = literal("") if table.content is None else table.column(table.content)
    return func.to_tsvector(config, content, type_=TSVECTOR)
