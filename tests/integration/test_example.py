"""Search by example, against numpy."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import URL, text

from lib.embedding.service import Role, create_service
from lib.errors import DimensionMismatch, InvalidInput, InvalidVector, NotFound
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.search.example import (
    UNLIKE_WEIGHT,
    Example,
    example_vector,
    find_ids,
    parse_vector,
    split_text,
    text_vector,
)
from lib.search.request import Mode, SearchRequest
from lib.search.service import SearchService
from lib.settings import LOCAL_MODEL, NO_MODEL, Settings
from lib.store.collections import Collection, create_collection
from lib.store.database import Database
from lib.vectors.build import build_index
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.index_methods import HNSW
from lib.vectors.search import SearchResult
from lib.vectors.tuning import Scan, SearchSettings
from tests.integration.vectors_fixture import one_database, random_vectors

ROWS, DIMENSIONS = 60, 8
SETTINGS = Settings(_env_file=None)
SIMILARITY = SearchRequest("", Mode.SIMILARITY, limit=12)


@pytest.fixture(scope="module")
def database(server_url: URL, template: str) -> Iterator[Database]:
    with one_database(server_url, template) as found:
        yield found


class Vectors:
    """A collection whose vectors came without a model; document n has the n-th vector, the last
    one has none."""

    def __init__(self, database: Database, name: str, distance: Distance) -> None:
        self.database = database
        self.collection = database.query(
            create_collection, name, model=NO_MODEL, dimensions=DIMENSIONS, distance=distance
        )
        lengths = np.linspace(0.5, 3, ROWS, dtype=np.float32)[:, None]
        self.vectors = random_vectors(ROWS, DIMENSIONS) * lengths
        documents = [
            IncomingDocument(
                external_id=str(number),
                content=f"text {number}",
                embedding=None if number == ROWS - 1 else self.vectors[number],
            )
            for number in range(ROWS)
        ]
        database.query(store_documents, self.collection, documents)

    def ids(self, *numbers: int) -> tuple[uuid.UUID, ...]:
        return self.database.query(find_ids, self.collection, [str(n) for n in numbers])

    def search(self, example: Example, request: SearchRequest = SIMILARITY) -> SearchResult:
        service = SearchService(self.database, SETTINGS)
        return self.database.run(service.search_like(self.collection, example, request))

    def vector(self, example: Example) -> FloatArray:
        return self.database.run(example_vector(self.database, SETTINGS, self.collection, example))

    def expected(self, query: FloatArray, left_out: set[int]) -> list[str]:
        distances = self.collection.distance.between(query, self.vectors[:-1])
        order = [str(n) for n in np.argsort(distances) if n not in left_out]
        return order[: SIMILARITY.limit]


@pytest.fixture(scope="module", params=list(Distance), ids=lambda found: found.value)
def given(database: Database, request: pytest.FixtureRequest) -> Vectors:
    return Vectors(database, f"By {request.param.value}", request.param)


def names(result: SearchResult) -> list[str]:
    return [hit.document.external_id or "" for hit in result]


def test_more_like_one_document(given: Vectors) -> None:
    result = given.search(Example(like=given.ids(7)))
    assert names(result) == given.expected(given.vectors[7], {7})
    assert result.embedding_ms is not None


def test_more_like_a_vector(given: Vectors) -> None:
    vector = tuple(map(float, random_vectors(1, DIMENSIONS, seed=5)[0]))
    typed = parse_vector(json.dumps(vector), given.collection)
    assert names(given.search(Example(vector=typed))) == given.expected(np.array(vector), set())


def test_like_several_and_unlike_others(given: Vectors) -> None:
    like, unlike = (3, 4, 5), (8, 9)
    example = Example(like=given.ids(*like), unlike=given.ids(*unlike))
    units = given.vectors / np.linalg.norm(given.vectors, axis=1, keepdims=True)
    away = units[list(like)].mean(axis=0) - UNLIKE_WEIGHT * units[list(unlike)].mean(axis=0)
    length = np.linalg.norm(given.vectors[list(like)], axis=1).mean()
    expected = length * away / np.linalg.norm(away)
    assert given.vector(example) == pytest.approx(expected, rel=1e-5)
    assert names(given.search(example)) == given.expected(expected, {*like, *unlike})


def test_filters_limits_and_thresholds_hold_here_too(given: Vectors) -> None:
    example = Example(like=given.ids(7))
    third = given.search(example).hits[2].distance
    assert third is not None
    near = SearchRequest("", Mode.SIMILARITY, limit=12, max_distance=third)
    if given.collection.distance is not Distance.INNER_PRODUCT:
        assert names(given.search(example, near)) == given.expected(given.vectors[7], {7})[:2]
    nothing = SearchRequest("", Mode.SIMILARITY, category="none of it")
    assert names(given.search(example, nothing)) == []


def test_the_index_brings_as_many_as_are_asked_for(database: Database) -> None:
    given = Vectors(database, "Indexed", Distance.COSINE)
    database.run(build_index(database.engine, given.collection.table, HNSW.spec()))
    indexed = SearchRequest(
        "", Mode.SIMILARITY, 12, settings=SearchSettings(scan=Scan.INDEX), with_plan=True
    )
    result = given.search(Example(like=given.ids(*range(30))), indexed)
    assert result.plan is not None
    assert result.plan.vector_index is not None
    assert len(result) == 12
    assert not {int(name) for name in names(result)} & set(range(30))


def test_a_hybrid_takes_words_beside_the_example(given: Vectors) -> None:
    request = SearchRequest("text 9", Mode.HYBRID, limit=3, vector_weight=0.0)
    result = given.search(Example(like=given.ids(7)), request)
    assert names(result)[0] == "9"
    with pytest.raises(InvalidInput, match="question is empty"):
        given.search(Example(like=given.ids(7)), SearchRequest("", Mode.HYBRID))


def test_what_is_no_example(given: Vectors) -> None:
    for nothing in ({}, {"text": " \n"}, {"unlike": (uuid.uuid4(),)}):
        with pytest.raises(InvalidInput, match="nothing to be like"):
            Example(**nothing)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="is the most"):
        Example(text="x" * 1_000_001)
    with pytest.raises(NotFound, match="no document with the id"):
        given.ids(999)
    gone = tuple(uuid.UUID(int=number) for number in range(1, 6))
    with pytest.raises(NotFound, match=rf"this example is not in “.*” \(any more\): {gone[0]}\."):
        given.search(Example(like=gone[:1]))
    with pytest.raises(NotFound, match=r"^5 of the example's 7 documents are not in .*, …"):
        given.search(Example(like=given.ids(1, 2), unlike=gone))
    with pytest.raises(InvalidInput, match="no embedding yet"):
        given.search(Example(like=given.ids(ROWS - 1)))
    with pytest.raises(InvalidInput):  # no model to embed it
        given.search(Example(text="some words"))
    opposite = tuple(map(float, -given.vectors[7]))
    with pytest.raises(InvalidVector, match="cancel each other out"):
        given.search(Example(like=given.ids(7), vector=opposite))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[1, 2", "no JSON at character"),
        ('{"a": 1}', "no list"),
        ('[1, "2", 3, 4, 5, 6, 7, 8]', "Dimension 2 .* no number"),
        ("[true, 2, 3, 4, 5, 6, 7, 8]", "Dimension 1 .* no number"),
        ("[NaN, 2, 3, 4, 5, 6, 7, 8]", "dimension 1 is not a finite number"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_vector(given: Vectors, typed: str, said: str) -> None:
    with pytest.raises(InvalidVector, match=said):
        parse_vector(typed, given.collection)
    with pytest.raises(DimensionMismatch):
        parse_vector("[1, 2]", given.collection)


# --- texts --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(database: Database) -> Collection:
    return database.query(create_collection, "Texts", model=LOCAL_MODEL, dimensions=256)


def test_a_short_text_has_the_vector_of_a_document(database: Database, texts: Collection) -> None:
    service = create_service(LOCAL_MODEL, SETTINGS, 256)
    direct = database.run(service.get_embeddings_batch(["a lamp in the dark"], Role.DOCUMENT))
    found = database.run(
        example_vector(database, SETTINGS, texts, Example(text=" a lamp\nin the dark "))
    )
    assert found == pytest.approx(direct.vectors[0], abs=1e-6)


def test_a_long_text_is_the_mean_of_its_parts(database: Database) -> None:
    service = create_service(LOCAL_MODEL, SETTINGS, 256)
    long = " ".join(f"word{n % 977} follows word{n % 331}." for n in range(9000))
    parts = split_text(service, long)
    assert len(parts) > 1
    assert " ".join(parts) == long
    assert not any(service.is_cut(part) for part in parts)
    batch = database.run(service.get_embeddings_batch(parts, Role.DOCUMENT))
    assert batch.truncated == ()
    lengths = np.array([[len(part)] for part in parts])
    mean = (batch.vectors * lengths).sum(axis=0) / lengths.sum()
    assert database.run(text_vector(service, long)) == pytest.approx(mean, abs=1e-6)


def test_a_text_without_spaces_ends(database: Database) -> None:
    service = create_service(LOCAL_MODEL, SETTINGS, 256)
    assert "".join(split_text(service, "界" * 30_000)) == "界" * 30_000


def test_an_external_id_stands_for_all_of_its_parts(database: Database, texts: Collection) -> None:
    parts = [
        IncomingDocument(external_id="book", part=part, content=f"page {part}") for part in range(3)
    ]
    database.query(store_documents, texts, parts)

    async def stored() -> list[uuid.UUID]:
        async with database.session() as db:
            rows = await db.scalars(text("SELECT id FROM vecscope.documents_texts ORDER BY part"))
            return list(rows)

    ids = database.run(stored())
    assert database.query(find_ids, texts, ["book"]) == tuple(ids)
    assert database.query(find_ids, texts, [str(ids[1]), "book"]) == (ids[1], ids[0], ids[2])
