"""Index Lab: which index, which settings?"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from lib.errors import InvalidInput
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.load import store_documents
from lib.lab.experiment import Experiment, ExperimentState
from lib.lab.measurement import Protocol
from lib.lab.repository import get_experiment, list_experiments, make_experiment
from lib.lab.spec import ExperimentSpec, Priority, QueryKind, QuerySource, Target
from lib.search.filters import parse_filter
from lib.store.candidates import CandidateSpec, list_candidates
from lib.store.collections import Collection
from lib.store.jobs import JobKind
from lib.ui.lab.candidates_table import Row, edited
from lib.ui.lab.controls import experiment_params
from lib.ui.lab.model import CollectionLab
from lib.vectors.distance import ElementType
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan
from tests.pages.conftest import FILMS, Library, endless, words

Visit = Callable[..., AppTest]

VECTOR, HALFVEC = ElementType.VECTOR, ElementType.HALFVEC
# As little as can be measured.
QUICK = {
    "lab.index": "ivfflat:lists=4@vector",
    "lab.n": "5",
    "lab.rounds": "1",
    "lab.clients": "1",
    "lab.probes": "1, 4",
}


@pytest.fixture
def films(library: Library) -> Collection:
    """120 of them, 30 of each category, with a year to filter by."""
    collection = library.create()
    documents = [
        IncomingDocument(
            external_id=f"{title} {number}",
            title=f"{title} {number}",
            category=category,
            content=text,
            metadata={"year": 1990 + number},
        )
        for number in range(30)
        for title, category, text in FILMS
    ]
    library.services.database.query(store_documents, collection, documents)
    library.embed(collection)
    return collection


def lab_of(library: Library, collection: Collection) -> CollectionLab:
    return CollectionLab(library.services, collection)


def run_buttons(app: AppTest) -> list[Any]:
    return [button for button in app.button if button.label.startswith("Run: about")]


def newest(library: Library, collection: Collection) -> Experiment:
    return library.services.database.query(get_experiment, collection)


def table(app: AppTest) -> pd.DataFrame:
    [found] = app.dataframe
    return found.value


def press(app: AppTest, label: str) -> AppTest:
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


# --- before there is anything to measure --------------------------------------------------------


def test_without_a_collection_there_is_one_next_step(visit: Visit) -> None:
    app = visit("index_lab")
    assert "no collection yet" in app.info[0].value
    assert not app.error


def test_an_empty_collection_asks_for_documents(visit: Visit, library: Library) -> None:
    library.create()
    app = visit("index_lab")
    assert "no documents yet" in words(app)
    assert not run_buttons(app)


def test_one_row_is_too_few(visit: Visit, library: Library) -> None:
    collection = library.create()
    library.store(collection, FILMS[:1])
    library.embed(collection)
    app = visit("index_lab")
    assert "must be at least 2" in words(app)
    assert not run_buttons(app)


def test_without_embeddings_that_is_said(visit: Visit, library: Library) -> None:
    library.store(library.create())
    app = visit("index_lab")
    assert "4 documents of 4 have no embedding" in words(app)
    assert not run_buttons(app)


# --- what is to be found out --------------------------------------------------------------------


def test_a_first_look_has_two_candidates_with_their_estimates(
    visit: Visit, films: Collection
) -> None:
    app = visit("index_lab")
    found = table(app)
    assert list(found["Index"]) == ["IVFFlat", "HNSW"]
    assert found["lists"][0] == 10
    assert list(found["State"]) == ["to build", "to build"]
    for figure in ("Memory", "On disk", "Build"):
        assert all(re.match(r"[\d.,]+ \w+", cell) for cell in found[figure])
    assert len(run_buttons(app)) == 1
    assert not app.error
    assert not any(name.startswith("lab.") for name in app.query_params)


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("hnsw:m=64,ef_construction=64@vector", "below 2"),
        ("ivfflat:lists=500@vector", "500"),
    ],
)
def test_what_cannot_be_built_is_refused_beside_its_row(
    visit: Visit, films: Collection, index: str, why: str
) -> None:
    app = visit("index_lab", **{"lab.index": index})
    assert table(app)["State"][0] in ("refused", "cannot be")
    [error] = app.error
    assert "cannot be built" in error.value
    assert why in error.value
    assert not run_buttons(app)


def test_a_candidate_that_the_address_does_not_spell_is_said(
    visit: Visit, films: Collection
) -> None:
    app = visit("index_lab", **{"lab.index": "btree:fill=3"})
    assert "cannot be read" in app.warning[0].value
    assert len(table(app)) == 2


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ({"lab.k": "120"}, "k is 120"),
        ({"lab.probes": "one, two"}, "no list of whole numbers"),
        ({"lab.probes": "0"}, "probes is 0"),
        ({"lab.f": "="}, "field"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    visit: Visit, films: Collection, address: dict[str, str], why: str
) -> None:
    app = visit("index_lab", **address)
    [error] = app.error
    assert why in error.value.replace("\\", "")
    assert not run_buttons(app)


@pytest.mark.parametrize(("protocol", "k"), [("ann-benchmarks", 10), ("vectordbbench", 100)])
def test_a_protocol_brings_its_own_k(
    visit: Visit, films: Collection, protocol: str, k: int
) -> None:
    app = visit("index_lab", **{"lab.protocol": protocol, "lab.k": "7"})
    [shown] = [each for each in app.number_input if each.label.startswith("Neighbours wanted")]
    assert (shown.value, shown.disabled) == (k, True)
    assert not app.error
    assert len(run_buttons(app)) == 1


def test_a_filter_shows_what_it_leaves(visit: Visit, films: Collection) -> None:
    app = visit("index_lab", **{"lab.category": "Movie"})
    assert "leaves 30 of 120 rows, 25 %" in words(app)
    assert len(run_buttons(app)) == 1
    app = visit("index_lab", **{"lab.category": "Movie", "lab.f": "year>=3000"})
    assert "No row passes this filter" in app.error[0].value
    assert not run_buttons(app)


def test_all_equal_vectors_are_said(visit: Visit, library: Library) -> None:
    collection = library.create()
    library.store(collection, [FILMS[0]] * 40)
    library.embed(collection)
    app = visit("index_lab", **{"lab.index": "hnsw:m=16,ef_construction=64@vector"})
    assert "all equal" in words(app)


# --- the table ----------------------------------------------------------------------------------


def changes(
    edits: dict[int, dict[str, Any]] | None = None,
    added: list[dict[str, Any]] | None = None,
    deleted: list[int] | None = None,
) -> dict[str, Any]:
    """As Streamlit's editor tells them."""
    return {"edited_rows": edits or {}, "added_rows": added or [], "deleted_rows": deleted or []}


IVF, GRAPH = (
    Row(IVFFLAT, VECTOR, {"lists": 10}),
    Row(HNSW, VECTOR, {"m": 16, "ef_construction": 64}),
)


def test_edits_of_the_table() -> None:
    def after(**what: Any) -> list[Row]:
        return edited([IVF, GRAPH], changes(**what), VECTOR, 50_000)

    assert after() == [IVF, GRAPH]
    assert after(edits={0: {"lists": 20}}) == [Row(IVFFLAT, VECTOR, {"lists": 20}), GRAPH]
    assert after(deleted=[0]) == [GRAPH]
    # Another kind begins with the usual options: 50 lists of 1,000 rows.
    assert after(edits={1: {"Index": "IVFFlat"}})[1] == Row(IVFFLAT, VECTOR, {"lists": 50})
    assert after(edits={0: {"Index": "HNSW"}})[0] == GRAPH
    # ef_construction is at least twice m: it goes along.
    assert after(edits={1: {"m": 48}})[1] == Row(HNSW, VECTOR, {"m": 48, "ef_construction": 96})
    assert after(edits={1: {"Stored as": "halfvec"}})[1].storage is HALFVEC
    # What is typed is taken as it is, also where it cannot be: the page says why.
    assert after(edits={1: {"ef_construction": 20}})[1].options["ef_construction"] == 20
    # A new row is a candidate that is not there yet.
    assert after(added=[{}])[2] == Row(HNSW, VECTOR, {"m": 24, "ef_construction": 64})
    assert after(added=[{"Index": "IVFFlat", "lists": 7}])[2] == Row(IVFFLAT, VECTOR, {"lists": 7})


def test_a_row_is_read_as_it_was_written() -> None:
    for row in (IVF, GRAPH, Row(HNSW, ElementType.BIT, {"m": 2, "ef_construction": 4})):
        assert Row.from_text(row.text) == row
        assert str(row.spec(100)) == row.text
    for text in ("", "hnsw", "hnsw:m=x@vector", "hnsw:lists=3@vector", "hnsw:m=4@text"):
        assert Row.from_text(text) is None


# --- a run --------------------------------------------------------------------------------------


def test_the_settings_of_an_experiment_make_the_same_again(
    visit: Visit, library: Library, films: Collection
) -> None:
    spec = ExperimentSpec(
        candidates=(
            CandidateSpec(IVFFLAT.spec(lists=4), VECTOR),
            CandidateSpec(HNSW.spec(m=8, ef_construction=32), HALFVEC),
        ),
        queries=QuerySource(QueryKind.SAMPLE, 6, 3),
        k=5,
        filters=(parse_filter("category=Movie"), parse_filter("year>=2000")),
        protocol=Protocol.VECSCOPE,
        target=Target(0.9, 50.0, Priority.SIZE),
        rounds=2,
        clients=(1, 4, 8),
        values={"probes": (1, 4), "ef_search": (10, 20)},
        iterative_scans=(IterativeScan.RELAXED,),
        oversampling=4,
    )
    app = visit("index_lab", **experiment_params(spec))
    assert not app.error
    library.services.database.query(make_experiment, films, spec)
    again = visit("index_lab", part="results")
    [link] = [e for e in again.get("page_link") if e.proto.label == "A new one like this"]
    assert "lab.index=ivfflat" in link.proto.query_string
    run_buttons(app)[0].click().run()
    library.services.database.run(cancel_all(library))
    asked = [each.spec for each in library.services.database.query(list_experiments, films)]
    assert asked == [spec, spec]


async def cancel_all(library: Library) -> None:
    jobs = library.services.jobs
    for job in await jobs.recent(active_only=True):
        await jobs.cancel(job.id)
        await jobs.wait(job.id)


def test_from_the_table_to_results_and_back_to_nothing(
    visit: Visit, library: Library, films: Collection
) -> None:
    app = visit("index_lab", **QUICK)
    run_buttons(app)[0].click().run()
    assert not app.error
    library.wait()
    app.run()
    assert not app.error
    experiment = newest(library, films)
    assert experiment.state is ExperimentState.DONE
    assert [each.setting.value for each in experiment.measurements_of("IVFFlat lists 4")][:1] == [1]
    assert app.query_params.get("part") is None  # results are usual now
    assert app.selectbox(key="exp").value == str(experiment.id)

    app = visit("index_lab", part="new", **QUICK)
    assert list(table(app)["State"]) == ["built already"]
    assert list(table(app)["Build"]) == ["0 s"]

    app = visit("index_lab", part="all")
    assert "recall ≥ 0.95" in words(app).replace("\\", "")
    assert "IVFFlat lists 4" in words(app)  # with as many probes as lists it is exact
    app = visit("index_lab", part="disk")
    assert "One candidate takes" in words(app)
    app = press(app, "Drop")
    assert "get free" in words(app)

    # AppTest cannot press a button of a dialog: tests/browser does.
    lab = lab_of(library, films)
    lab.rename(experiment.id, "By hand")
    assert "**By hand**" in [e.proto.label for e in visit("index_lab", part="all").get("page_link")]
    lab.drop(lab.candidates)
    assert "nothing of the lab takes room" in words(visit("index_lab", part="disk"))
    lab.delete(experiment.id)
    assert "No experiment" in words(visit("index_lab", part="all"))


def of_file(library: Library, films: Collection, name: str, content: bytes) -> uuid.UUID:
    """AppTest forgets a dropped file at the next click, so this goes by what the page calls."""
    spec = ExperimentSpec(
        (CandidateSpec(IVFFLAT.spec(lists=4), VECTOR),),
        QuerySource(QueryKind.FILE, 5, name=name),
        rounds=1,
        values={"probes": (1,)},
    )
    source = FileSource.from_bytes(name, content)
    return lab_of(library, films).start(spec, source=source)


def test_questions_of_a_file_are_asked(visit: Visit, library: Library, films: Collection) -> None:
    content = b"stones in a garden\n\nwhales and  squid\nwhales and squid\n"
    of_file(library, films, "questions.txt", content)
    library.wait()
    experiment = newest(library, films)
    assert experiment.state is ExperimentState.DONE
    batch = lab_of(library, films).queries(experiment)
    assert batch is not None
    assert batch.labels == ("stones in a garden", "whales and squid")
    assert "questions" in words(visit("index_lab"))


def test_vectors_of_another_dimension_are_refused(library: Library, films: Collection) -> None:
    content = b'id,embedding\na,"[1,2,3]"\nb,"[3,2,1]"\n'
    with pytest.raises(InvalidInput, match="3 dimensions"):
        of_file(library, films, "points.csv", content)
    assert not library.services.database.query(list_experiments, films)


@pytest.mark.parametrize(
    ("source", "what"), [("query_set", "no query set yet"), ("file", "Drop a file")]
)
def test_where_queries_are_still_missing_it_is_said(
    visit: Visit, films: Collection, source: str, what: str
) -> None:
    app = visit("index_lab", **{"lab.from": source})
    assert what in app.info[0].value
    assert not app.error
    assert not run_buttons(app)


def test_what_was_measured_before_the_last_change_is_stale(
    visit: Visit, library: Library, films: Collection
) -> None:
    app = visit("index_lab", **QUICK)
    run_buttons(app)[0].click().run()
    library.wait()
    library.store(films)  # four more
    library.embed(films)
    assert "Stale" in words(visit("index_lab"))
    disk = visit("index_lab", part="disk")
    assert "stale" in words(disk)
    assert "Drop the 1 stale one" in [button.label for button in disk.button]
    again = visit("index_lab", part="new", **QUICK)
    assert list(table(again)["State"]) == ["to build"]


def test_what_was_broken_off_says_so_and_goes_on(
    visit: Visit, library: Library, films: Collection
) -> None:
    spec = ExperimentSpec(
        (CandidateSpec(IVFFLAT.spec(lists=4), VECTOR),),
        QuerySource(count=5),
        rounds=1,
        values={"probes": (1,)},
    )
    library.services.database.query(make_experiment, films, spec)  # and its process ended
    app = visit("index_lab")
    assert "interrupted" in words(app)
    app = press(app, "Go on")
    assert not app.error
    library.wait()
    assert newest(library, films).state is ExperimentState.DONE
    assert len(library.services.database.query(list_candidates, films)) == 1
    assert "Go on" not in [button.label for button in visit("index_lab").button]


def test_what_runs_is_watched_and_nothing_else_can_begin(
    visit: Visit, library: Library, films: Collection
) -> None:
    services = library.services
    services.database.run(
        services.jobs.start(
            JobKind.EXPERIMENT,
            "Experiment One on Films",
            endless,
            collection_id=films.id,
            exclusive_key="experiment",
        )
    )
    app = visit("index_lab")
    assert "Experiment One on Films" in words(app)
    assert [button.disabled for button in run_buttons(app)] == [True]
    other = library.films("Others")
    assert "Experiment One on Films" in words(visit("index_lab", c=other.slug))
    [cancel] = [button for button in app.button if button.label == "Cancel"]
    cancel.click().run()
    library.wait()
    app.run()
    assert [button.disabled for button in run_buttons(app)] == [False]


def test_an_experiment_that_is_gone_is_said(
    visit: Visit, library: Library, films: Collection
) -> None:
    spec = ExperimentSpec((CandidateSpec(IVFFLAT.spec(lists=4), VECTOR),))
    library.services.database.query(make_experiment, films, spec)
    app = visit("index_lab", exp=str(uuid.uuid4()))
    assert "not here" in words(app)
    assert not app.error
