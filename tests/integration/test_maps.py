"""Maps of a real collection: built by a worker, stored, placed into, cancelled and refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections import Counter
from typing import Any

import numpy as np
import psutil
import pytest
from candidates_fixture import DIMENSIONS, Library, clustered
from maps_fixture import compiled_home
from sqlalchemy import text

from lib.errors import Busy, DimensionMismatch, InvalidInput, NotFound
from lib.projection import build
from lib.projection.build import estimated_seconds, start_projection
from lib.projection.clusters import find_clusters
from lib.projection.distances import distance_between, distances_to
from lib.projection.document_details import load_document_details
from lib.projection.placing import place_documents, place_query
from lib.projection.protocol import PhaseShare, read_message, write_message
from lib.projection.recall import measure_recall
from lib.projection.repository import (
    Projection,
    delete_projection,
    get_projection,
    list_projections,
)
from lib.projection.settings import ClusterMethod, ClusterSettings, Method, ProjectionSettings
from lib.projection.terms import distinctive_terms
from lib.settings import PROJECT_ROOT
from lib.store.collections import drop_collection
from lib.store.database import Database
from lib.store.jobs import SHARE_UNITS, Job, JobContext, JobStatus
from lib.vectors.distance import Distance, FloatArray
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import SearchSettings

PCA = ProjectionSettings(Method.PCA)


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What numba compiles is kept for the next test, and the next run."""
    monkeypatch.setenv("VECSCOPE_HOME", compiled_home())


class Atlas(Library):
    """A library and its maps."""

    def map(self, settings: ProjectionSettings = PCA, **options: Any) -> Projection:
        job = self.done(self.begin(settings, **options))
        assert job.result is not None
        return self.get(uuid.UUID(job.result["projection_id"]))

    def begin(self, settings: ProjectionSettings = PCA, **options: Any) -> Job:
        return self.database.run(
            start_projection(self.jobs, self.database, self.collection, settings, **options)
        )

    def ended(self, job: Job) -> Job:
        return self.database.run(self.jobs.wait(job.id))

    def done(self, job: Job) -> Job:
        ended = self.ended(job)
        assert ended.status is JobStatus.DONE, ended.error
        return ended

    def get(self, wanted: uuid.UUID | str) -> Projection:
        return self.database.query(get_projection, self.collection, wanted)

    def maps(self) -> list[str]:
        return [m.name for m in self.database.query(list_projections, self.collection)]

    def run(self, statement: str) -> None:
        async def work() -> None:
            async with self.database.session() as db:
                await db.execute(text(statement))

        self.database.run(work())


def numbers(projection: Projection) -> list[int]:
    return [id_.int for id_ in projection.ids]


def nearest_by_numpy(vectors: FloatArray, k: int) -> list[set[int]]:
    found = []
    for number, vector in enumerate(vectors):
        distances = Distance.COSINE.between(vector, vectors)
        distances[number] = np.inf
        found.append(set(np.argsort(distances)[:k].tolist()))
    return found


def test_the_same_seed_gives_the_same_map_in_two_processes(database: Database) -> None:
    vectors = clustered(150)
    atlas = Atlas(database, vectors)
    settings = ProjectionSettings(n_neighbors=10, epochs=100)
    first, second = atlas.map(settings), atlas.map(settings)
    other = atlas.map(ProjectionSettings(n_neighbors=10, epochs=100, seed=7, dimensions=3))

    np.testing.assert_array_equal(first.coordinates, second.coordinates)
    assert first.coordinates.shape == (150, 2)
    assert other.coordinates.shape == (150, 3)
    assert np.abs(other.coordinates[:, :2] - first.coordinates).max() > 0.1
    assert second.name == f"{first.name} (2)"
    assert atlas.maps() == [other.name, second.name, first.name]

    assert numbers(first) == list(range(150))
    assert first.neighbours is not None
    expected = nearest_by_numpy(vectors, 15)
    assert [set(row.tolist()) for row in first.neighbours.indices] == expected
    assert (first.points, first.documents, first.left_out, first.sampled) == (150, 150, 0, False)
    assert first.fidelity.local == pytest.approx(float(first.local_fidelity.mean()))
    assert first.fidelity.trustworthiness > 0.8
    assert first.parameters["n_neighbors"] == 10
    assert first.versions["umap-learn"]

    database.query(delete_projection, first)
    assert atlas.maps() == [other.name, second.name]
    with pytest.raises(NotFound, match="gone already"):
        database.query(delete_projection, first)
    with pytest.raises(NotFound, match="no map called “X”") as unknown:
        atlas.get("X")
    assert second.name in unknown.value.hint


def test_a_map_is_stale_after_a_write_and_takes_new_documents_in(database: Database) -> None:
    vectors = clustered(120)
    atlas = Atlas(database, vectors[:100])
    before = atlas.map(name="Mine")
    assert (before.name, before.stale) == ("Mine", False)

    atlas.add([*vectors[100:118], None, np.zeros(DIMENSIONS)], first=100)
    assert atlas.get("mine").stale
    job = atlas.done(place_some(atlas, before, 10))
    assert job.result == {
        "projection_id": str(before.id), "placed": 10, "left_out": 0, "remaining": 9,
    }  # fmt: skip
    assert atlas.get("mine").stale
    job = atlas.done(place_some(atlas, atlas.get("mine"), None))
    assert job.result is not None
    assert (job.result["placed"], job.result["left_out"], job.result["remaining"]) == (8, 1, 0)

    after = atlas.get("mine")
    assert (after.stale, after.points, after.placed_points) == (False, 118, 18)
    assert numbers(after) == list(range(118))
    assert after.placed.tolist() == [False] * 100 + [True] * 18
    np.testing.assert_array_equal(after.coordinates[:100], before.coordinates)
    for number in (100, 117):  # by numpy: exp(−beyond the first / the mean of that)
        distances = Distance.COSINE.between(vectors[number], vectors[:100])
        near = np.argsort(distances)[:15]
        beyond = distances[near] - distances[near[0]]
        weights = np.exp(-beyond / beyond.mean())
        expected = (weights[:, None] * before.coordinates[near]).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(after.coordinates[number], expected, atol=1e-4)
        assert after.neighbours is not None
        assert after.neighbours.indices[number].tolist() == near.tolist()
        hits = [(uuid.UUID(int=int(at)), float(distances[at])) for at in near]
        np.testing.assert_allclose(place_query(before, hits).position, expected, atol=1e-4)


def place_some(atlas: Atlas, projection: Projection, limit: int | None) -> Job:
    return atlas.database.run(
        place_documents(atlas.jobs, atlas.database, atlas.collection, projection, limit=limit)
    )


def test_there_may_be_nothing_to_place(database: Database) -> None:
    atlas = Atlas(database, clustered(30))
    drawn = atlas.map()
    with pytest.raises(InvalidInput, match="is on the map “PCA” already"):
        place_some(atlas, drawn, None)
    atlas.add([np.zeros(DIMENSIONS)], first=30)
    ended = atlas.ended(place_some(atlas, drawn, None))
    assert ended.status is JobStatus.FAILED
    assert "None of the missing documents can be placed" in (ended.error or "")
    assert atlas.get(drawn.id).points == 30


def test_a_large_collection_is_sampled_by_category(database: Database) -> None:
    atlas = Atlas(database, clustered(120))
    atlas.run(
        f"UPDATE {atlas.collection.table.qualified_name} SET category = CASE "
        "WHEN external_id::int < 90 THEN 'many' WHEN external_id::int < 119 THEN 'some' "
        "ELSE 'one' END"
    )
    some = atlas.map(ProjectionSettings(Method.PCA, limit=40))
    kinds = Counter("many" if n < 90 else "some" if n < 119 else "one" for n in numbers(some))
    assert kinds == {"many": 30, "some": 9, "one": 1}
    assert (some.points, some.documents, some.sampled) == (40, 120, True)
    job = atlas.done(place_some(atlas, some, None))
    assert job.result is not None
    assert job.result["placed"] == 80
    assert sorted(numbers(atlas.get(some.id))) == list(range(120))


# --- what cannot be mapped ------------------------------------------------------------------------


def test_too_little_is_refused_before_anything_runs(database: Database) -> None:
    atlas = Atlas(database, [])
    with pytest.raises(InvalidInput, match="No document of “Library” has an embedding"):
        atlas.begin()
    atlas.add([None] * 8)
    with pytest.raises(InvalidInput, match="No document of “Library” has an embedding"):
        atlas.begin()
    atlas.add(clustered(4), first=8)
    with pytest.raises(InvalidInput, match="has 4 documents with an embedding"):
        atlas.begin()
    atlas.add(clustered(1, seed=5), first=12)
    with pytest.raises(InvalidInput, match="1 to 80 characters") as refused:
        atlas.begin(name=" ")
    assert refused.value.field == "name"
    assert atlas.map(ProjectionSettings(epochs=10)).points == 5


def test_equal_embeddings_are_refused(database: Database) -> None:
    lengths = np.arange(1, 21, dtype=np.float32)[:, None]
    atlas = Atlas(database, lengths * np.ones(DIMENSIONS, np.float32))
    ended = atlas.ended(atlas.begin())
    assert (ended.status, atlas.maps()) == (JobStatus.FAILED, [])
    assert "All 20 embeddings have the same direction, so" in (ended.error or "")
    same = Atlas(database, np.ones((9, 3)), dimensions=3, distance=Distance.L2, name="Same")
    assert "All 9 embeddings are equal, so" in (same.ended(same.begin()).error or "")


def test_embeddings_without_a_direction_stay_out(database: Database) -> None:
    """NaN never gets into a vector column; zeros do, and under cosine they have no distance."""
    vectors = clustered(50)
    vectors[[3, 40]] = 0
    atlas = Atlas(database, vectors)
    drawn = atlas.map()
    assert (drawn.points, drawn.left_out) == (48, 2)
    assert not {3, 40} & set(numbers(drawn))
    assert np.isfinite(drawn.coordinates).all()
    nothing = Atlas(database, np.zeros((9, DIMENSIONS), np.float32), name="Nothing")
    ended = nothing.ended(nothing.begin())
    assert "9 of 9 have an embedding that is all zeros" in (ended.error or "")


def test_half_of_the_documents_equal_is_no_trouble_nor_are_negative_distances(
    database: Database,
) -> None:
    vectors = clustered(60)
    vectors[:30] = vectors[0]
    atlas = Atlas(database, vectors, distance=Distance.INNER_PRODUCT)
    drawn = atlas.map(ProjectionSettings(n_neighbors=5, epochs=20))
    assert drawn.graph().distances.min() < 0
    assert np.isfinite(drawn.coordinates).all()


# --- builds that come to nothing ------------------------------------------------------------------


def workers() -> list[int]:
    """Our children that compute a map."""
    found = []
    for child in psutil.Process().children():
        try:
            if "lib.projection.worker" in child.cmdline():
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def wait_for(atlas: Atlas, job: Job, message: str) -> None:
    while message not in (now := atlas.database.run(atlas.jobs.wait(job.id, 0.1))).message:
        assert now.active, (now.status, now.error)


ENDLESS = ProjectionSettings(epochs=100_000)
"""Minutes for 3,000 points: nobody can look away for so long."""


def test_two_builds_at_once_and_one_that_is_cancelled(database: Database) -> None:
    atlas = Atlas(database, clustered(3000))
    job = atlas.begin(ENDLESS)
    with pytest.raises(Busy, match="Mapping Library by UMAP"):
        atlas.begin(ProjectionSettings(n_neighbors=5))
    assert atlas.map().name == "PCA"  # the quick picture meanwhile
    wait_for(atlas, job, "of 100,000)")
    now = database.run(atlas.jobs.get(job.id))
    assert now.seconds_left is not None
    assert workers()
    database.run(atlas.jobs.cancel(job.id))
    assert atlas.ended(job).status is JobStatus.CANCELLED
    assert workers() == []
    assert atlas.maps() == ["PCA"]
    assert atlas.map(ProjectionSettings(epochs=10, limit=50)).points == 50


def test_a_worker_that_is_killed_fails_the_job_in_words(database: Database) -> None:
    atlas = Atlas(database, clustered(3000))
    job = atlas.begin(ENDLESS)
    wait_for(atlas, job, "of 100,000)")
    for pid in workers():
        psutil.Process(pid).kill()
    ended = atlas.ended(job)
    assert ended.status is JobStatus.FAILED
    assert "not enough memory" in (ended.error or "")  # who kills by 9 is mostly the kernel
    assert atlas.maps() == []


def test_a_worker_does_not_outlive_its_parent() -> None:
    """What a parent that was killed leaves behind is a pipe that ends."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "lib.projection.worker", str(64 * 1024**3)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    vectors = clustered(3000)
    header = {
        "task": "layout",
        "rows": len(vectors),
        "dimensions": DIMENSIONS,
        "distance": "cosine",
        "settings": ENDLESS.to_json(),
        "clusters": ClusterSettings().to_json(),
    }
    write_message(worker.stdin, header)
    write_message(worker.stdin, {}, {"places": np.arange(len(vectors)), "vectors": vectors})
    write_message(worker.stdin, {"end": True})
    while (said := read_message(worker.stdout)) != ({"phase": "layout", "share": 0.0}, {}):
        assert said is not None
    worker.stdin.close()
    while read_message(worker.stdout) is not None:
        continue
    assert worker.wait(timeout=60) == 1
    worker.stdout.close()


def test_a_collection_that_is_dropped_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = Atlas(database, clustered(60))
    really = build.run_task

    async def drops_first(*args: Any) -> Any:
        answer = await really(*args)
        async with database.session() as db:
            await drop_collection(db, atlas.collection)
        return answer

    monkeypatch.setattr(build, "run_task", drops_first)
    ended = atlas.ended(atlas.begin())
    assert ended.status is JobStatus.FAILED
    assert "was dropped or re-embedded while its map was being worked on" in (ended.error or "")
    assert atlas.ask("SELECT count(*) FROM vecscope.projections") == [(0,)]


def test_maps_go_with_their_collection(database: Database) -> None:
    atlas = Atlas(database, clustered(20))
    atlas.map()
    database.query(drop_collection, atlas.collection)
    assert atlas.ask("SELECT count(*) FROM vecscope.projections") == [(0,)]


# --- terms, clusters, details --------------------------------------------------------------------


def test_clusters_are_named_by_the_words_that_set_them_apart(database: Database) -> None:
    """Three crowds, each with words of its own and one that all have."""
    rng = np.random.default_rng(0)
    middle = np.eye(3, DIMENSIONS) * 5
    kinds = np.repeat([0, 1, 2], [30, 25, 20])
    vectors = (middle[kinds] + 0.2 * rng.standard_normal((75, DIMENSIONS))).astype(np.float32)
    atlas = Atlas(database, vectors)
    subjects = ["running horses", "boiled potatoes", "distant galaxies"]
    cases = " ".join(
        f"WHEN external_id::int < {end} THEN '{subject} are common, see www.site{end}.org'"
        for end, subject in zip((30, 55, 75), subjects, strict=True)
    )
    atlas.run(f"UPDATE {atlas.collection.table.qualified_name} SET content = CASE {cases} END")
    drawn = atlas.map(ProjectionSettings(epochs=100, n_neighbors=10))
    assert drawn.clusters.sizes == (30, 25, 20)
    assert drawn.clusters.labels.tolist() == kinds.tolist()
    assert [set(words) for words in drawn.clusters.terms] == [set(s.split()) for s in subjects]
    assert drawn.clusters.names[1] in ("boiled, potatoes", "potatoes, boiled")

    again = database.run(
        find_clusters(
            database, atlas.collection, drawn, ClusterSettings(ClusterMethod.KMEANS, count=3)
        )
    )
    assert again.labels.tolist() == kinds.tolist()
    assert again.names == drawn.clusters.names
    crowded = database.run(find_clusters(database, atlas.collection, drawn))
    assert crowded.labels.tolist() == kinds.tolist()
    many = ClusterSettings(ClusterMethod.KMEANS, count=90)
    with pytest.raises(InvalidInput, match="fewer than the 90 clusters"):
        database.run(find_clusters(database, atlas.collection, drawn, many))

    chosen = [id_ for id_ in drawn.ids if 30 <= id_.int < 55]
    apart = database.query(distinctive_terms, atlas.collection, chosen)
    assert set(apart) == {"boiled", "potatoes"}
    assert database.query(distinctive_terms, atlas.collection, drawn.ids.tolist()) == ()
    with pytest.raises(InvalidInput, match="No documents are selected"):
        database.query(distinctive_terms, atlas.collection, [])

    atlas.add([middle[2], middle[0], middle[1]], first=75)
    atlas.done(place_some(atlas, drawn, None))
    placed = atlas.get(drawn.id).clusters
    assert placed.labels.tolist() == [*kinds.tolist(), 2, 0, 1]
    assert (placed.sizes, placed.names) == ((31, 26, 21), drawn.clusters.names)


def test_details_come_in_the_order_of_the_ids(database: Database) -> None:
    atlas = Atlas(database, clustered(4))
    table = atlas.collection.table.qualified_name
    atlas.run(
        f"UPDATE {table} SET title = 'The first', content = E'  two\\n\\nlines ', "
        """metadata = '{"year": 1999, "tag": "x", "list": [1], "ok": true}' """
        "WHERE external_id = '0'"
    )
    deleted = uuid.uuid4()
    ids = [uuid.UUID(int=3), deleted, uuid.UUID(int=0)]
    found = database.query(load_document_details, atlas.collection, ids)
    assert found.exists.tolist() == [True, False, True]
    assert found.titles == ("text 3", "", "The first")
    assert found.categories == ("odd", None, "even")
    assert found.snippets == ("text 3", "", "two lines")
    assert set(found.metadata) == {"shelf", "year", "tag", "ok"}
    year, tag = found.metadata["year"], found.metadata["tag"]
    np.testing.assert_array_equal(year.numbers, [np.nan, np.nan, 1999.0])
    assert (tag.numbers, tag.texts) == (None, (None, None, "x"))
    assert database.query(load_document_details, atlas.collection, []).titles == ()
    # No title: a text as short as one, else the external id.
    atlas.run(f"UPDATE {table} SET content = repeat('x', 41) WHERE external_id = '3'")
    assert database.query(load_document_details, atlas.collection, ids).titles == (
        "3",
        "",
        "The first",
    )


def test_true_distances_are_numpys(database: Database) -> None:
    vectors = clustered(40)
    atlas = Atlas(database, vectors)
    drawn = atlas.map(ProjectionSettings(Method.PCA, limit=30))
    atlas.run(f"DELETE FROM {atlas.collection.table.qualified_name} WHERE id = '{drawn.ids[4]}'")
    query = clustered(1, seed=8)[0]
    found = database.query(distances_to, atlas.collection, drawn, query)
    expected = Distance.COSINE.between(query, vectors[numbers(drawn)])
    expected[4] = np.nan
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(DimensionMismatch):
        database.query(distances_to, atlas.collection, drawn, query[:3])

    one, other = drawn.ids[0], drawn.ids[9]
    between = database.query(distance_between, atlas.collection, one, other)
    pair = Distance.COSINE.between(vectors[one.int], vectors[[other.int]])
    assert between == pytest.approx(float(pair[0]), abs=1e-6)
    with pytest.raises(NotFound, match="is gone"):
        database.query(distance_between, atlas.collection, one, drawn.ids[4])


# --- indexes --------------------------------------------------------------------------------------


def test_what_an_index_misses_is_what_numpy_misses(database: Database) -> None:
    vectors = clustered(400)
    atlas = Atlas(database, vectors)
    drawn = atlas.map()
    flat = atlas.build(IVFFLAT.spec(lists=20))
    found = database.run(
        measure_recall(database, drawn, flat, SearchSettings(probes=1), k=5, queries=400)
    )
    assert (found.queries, found.k, found.certified) == (400, 5, True)
    truth = nearest_by_numpy(vectors, 5)
    expected = Counter(number for near in truth for number in near)
    assert found.expected.tolist() == [expected[number] for number in range(400)]
    missed = found.expected.sum() * (1 - found.recall)
    assert found.missed.sum() == round(missed) > 0
    assert found.recall == pytest.approx(float(np.nanmean(found.query_recall)), abs=1e-6)
    never_due = found.expected == 0
    assert np.isnan(found.missed_share[never_due]).all()

    every = database.run(
        measure_recall(database, drawn, flat, SearchSettings(probes=20), k=5, queries=50)
    )
    assert (every.recall, every.missed.sum(), every.queries) == (1.0, 0, 50)
    assert np.isfinite(every.query_recall).sum() == 50
    with pytest.raises(InvalidInput, match="k is 0"):
        database.run(measure_recall(database, drawn, flat, SearchSettings(), k=0))


def test_too_many_rows_ask_the_graph_of_a_candidate(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "EXACT_ROWS", 100)
    vectors = clustered(300)
    vectors[9] = 0  # is in no index
    atlas = Atlas(database, vectors)
    with pytest.raises(InvalidInput, match="no HNSW candidate") as refused:
        atlas.begin(ProjectionSettings(epochs=20))
    assert refused.value.field == "limit"
    with pytest.raises(InvalidInput, match="A sample of 200 points") as refused:
        atlas.begin(ProjectionSettings(limit=200))
    assert "or all 300" in refused.value.hint
    atlas.build(HNSW.spec(m=16, ef_construction=64))
    drawn = atlas.map(ProjectionSettings(epochs=20))
    assert (drawn.points, drawn.left_out) == (299, 1)
    assert drawn.neighbours is not None
    kept = np.delete(np.arange(300), 9)
    expected = nearest_by_numpy(vectors[kept], 15)
    hits = sum(
        len(set(row.tolist()) & near)
        for row, near in zip(drawn.neighbours.indices, expected, strict=True)
    )
    assert hits / (299 * 15) > 0.95
    some = atlas.map(ProjectionSettings(epochs=20, limit=100))  # few enough to be compared
    assert some.points + some.left_out == 100


def test_the_estimate_grows_with_the_rows_and_ends_at_the_limit() -> None:
    settings = ProjectionSettings(limit=20_000)
    seconds = [estimated_seconds(rows, 256, settings) for rows in (1_000, 10_000, 20_000, 10**6)]
    assert seconds[0] < seconds[1] < seconds[2] == seconds[3]
    assert estimated_seconds(20_000, 256, PCA) < seconds[2]


@pytest.mark.parametrize(
    ("rows", "phases"),
    [(1_000, ["reading", "neighbours"]), (210_000, ["neighbours", "reading"])],  # from an index
)
def test_the_progress_never_goes_back(rows: int, phases: list[str]) -> None:
    class Heard(JobContext):
        def __init__(self) -> None:
            self.heard: list[int] = []

        async def progress(self, done: int, *_: Any, **__: Any) -> None:
            self.heard.append(done)

    async def work(context: Heard) -> None:
        report = build._reporter(context, rows, 64, ProjectionSettings(limit=500_000))
        for phase in [*phases, "layout", "fidelity", "clusters", "naming"]:
            await report(PhaseShare(phase, 0.0))
            await report(PhaseShare(phase, 1.0))

    context = Heard()
    asyncio.run(work(context))
    assert context.heard[0] == 0
    assert context.heard == sorted(context.heard)
    assert context.heard[-1] == SHARE_UNITS
