"""Links to pages as an earlier version wrote them: each still sets what it set then."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import streamlit as st
from sqlalchemy import URL
from streamlit.testing.v1 import AppTest

from lib.lab.candidates import start_candidate_builds
from lib.search.bm25 import start_lexical_build
from lib.store.candidates import list_candidates, parse_candidate
from lib.ui.shared.page import services as open_services_of_the_pages
from lib.vectors.distance import Storage
from tests.earlier_version import restore, stored_rows
from tests.pages.conftest import Library, words

Link = dict[str, str | list[str]]
Visit = Callable[..., AppTest]


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def check_link(app: AppTest, link: Link, shown: dict[str, object]) -> None:
    """Every part of the link stands in the address of the drawn page, which drops what it does not
    know and the defaults; and the widgets of those keys are set as the link says."""
    assert not app.exception
    assert [error.value for error in app.error] == []
    address = {name: as_list(app.query_params.get(name, [])) for name in link}
    assert address == {name: as_list(value) for name, value in link.items()}
    assert {key: app.session_state[key] for key in shown} == shown


# --- Search and Compare, on a collection with a model -------------------------------------------


@pytest.fixture
def mark(library: Library) -> str:
    """Of a candidate, as links have it, of a collection with a BM25 index."""
    films, services = library.many_films(), library.services
    candidate = parse_candidate("ivfflat:lists=8", 0, Storage.VECTOR)
    services.database.run(
        start_candidate_builds(services.jobs, services.database, films, [candidate])
    )
    library.wait()
    services.database.run(start_lexical_build(services.jobs, services.database, films))
    library.wait()
    (built,) = services.database.query(list_candidates, films)
    return built.id.hex[:8]


def test_a_link_to_a_hybrid_search(mark: str, visit: Visit) -> None:
    link: Link = {
        "c": "films",
        "q": "roses moss",
        "category": "Documentary",
        "k": "7",
        "w": "0.3",
        "near": "true",
        "d": "0.9",
        "fusion": "rrf",
        "pool": "60",
        "text_hybrid": "plain",
        "rank": "bm25",
        "k1": "1.5",
        "b": "0.4",
        "scan": mark,
        "probes": "5",
        "iterative": "relaxed_order",
        "view": "weight",
    }
    shown = {
        "c": "films",
        "q": "roses moss",
        "category": "Documentary",
        "k": 7,
        "w": 0.3,
        "near": True,
        "d": 0.9,
        "fusion": "rrf",
        "pool": 60,
        "text_hybrid": "plain",
        "rank": "bm25",
        "k1": 1.5,
        "b": 0.4,
        "scan": mark,
        "probes": 5,
        "iterative": "relaxed_order",
        "view": "weight",
    }
    check_link(visit("search", **link), link, shown)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ({"mode": "similarity"}, {"mode": "similarity"}),
        ({"mode": "text", "text_text": "any"}, {"mode": "text", "text_text": "any"}),
        ({"mode": "text", "rank": "ts_rank_cd"}, {"mode": "text", "rank": "ts_rank_cd"}),
        ({"fusion": "raw", "view": "weight"}, {"fusion": "raw"}),
        ({"view": "sql"}, {"view": "sql"}),
        ({"show": "table"}, {"show": "table"}),
    ],
)
def test_other_links_to_a_search(
    library: Library, visit: Visit, link: Link, shown: dict[str, object]
) -> None:
    library.films()
    link = {"c": "films", "q": "heist", **link}
    app = visit("search", **link)
    if link.get("fusion") == "raw":  # there was no weight to look at then either
        del link["view"]
    check_link(app, link, shown)


def test_a_link_to_more_like_a_document(library: Library, visit: Visit) -> None:
    library.films()
    link: Link = {"c": "films", "like": "1", "unlike": "2", "mode": "similarity"}
    check_link(visit("search", **link), link, {"mode": "similarity"})


@pytest.mark.parametrize("preset", ["indexes", "weights", "rankings", "matching"])
def test_links_to_the_presets_of_compare(mark: str, visit: Visit, preset: str) -> None:
    link: Link = {"c": "films", "q": "heist", "preset": preset}
    check_link(visit("compare", **link), link, {"preset": preset})


def test_a_link_to_compare_with_columns_of_its_own(mark: str, visit: Visit) -> None:
    link: Link = {
        "c": "films",
        "q": "heist",
        "k": "5",
        "preset": "modes",
        "cols": "1234",
        "1.category": "Movie",
        "1.scan": mark,
        "1.probes": "5",
        "2.text_text": "plain",
        "3.w": "0.3",
        "3.fusion": "rrf",
        "3.near": "true",
        "3.d": "0.8",
        "4.mode": "similarity",
    }
    shown: dict[str, object] = {
        "k": 5,
        "cols": (1, 2, 3, 4),
        "1.category": "Movie",
        "1.scan": mark,
        "1.probes": 5,
        "2.text_text": "plain",
        "3.w": 0.3,
        "3.fusion": "rrf",
        "3.near": True,
        "3.d": 0.8,
        "4.mode": "similarity",
    }
    check_link(visit("compare", **link), link, shown)


# --- the other pages, on the database of the earlier version ------------------------------------


@pytest.fixture
def earlier(new_database: Callable[..., URL], environment: pytest.MonkeyPatch) -> Iterator[None]:
    url = new_database()
    restore(url)
    environment.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    st.cache_resource.clear()
    open_services_of_the_pages()
    yield
    st.cache_resource.clear()


def id_of(table: str, name: str) -> str:
    column = "external_id" if table == "documents_films" else "name"
    (found,) = [row["id"] for row in stored_rows(table) if row[column] == name]
    return str(found)


def test_a_link_to_a_saved_search(earlier: None, visit: Visit) -> None:
    app = visit("search", c="films", saved="words")
    check_link(app, {"c": "films", "q": "whales", "rank": "ts_rank_cd"}, {"rank": "ts_rank_cd"})


def test_a_link_to_a_saved_search_by_example(earlier: None, visit: Visit) -> None:
    app = visit("search", c="films", saved="through_a_copy")
    mark = id_of("candidates", "IVFFlat lists 10, halfvec")[:8]
    like, unlike = (id_of("documents_films", name) for name in ("film-0", "film-10"))
    check_link(
        app,
        {"c": "films", "like": like, "unlike": unlike, "scan": mark, "probes": "4"},
        {},
    )


def test_links_to_browse(earlier: None, visit: Visit) -> None:
    link: Link = {
        "c": "films",
        "q": "whales",
        "category": "Sea",
        "state": "embedded",
        "order": "title",
        "field": "year",
    }
    shown = {"q": "whales", "category": "Sea", "state": "embedded", "order": "title"}
    check_link(visit("browse", **link), link, {**shown, "field": "year"})
    app = visit("browse", c="films", doc="film-4")
    assert "Film 4" in words(app)


def test_a_link_to_a_new_experiment(earlier: None, visit: Visit) -> None:
    link: Link = {
        "c": "films",
        "part": "new",
        "lab.index": ["hnsw:m=16,ef_construction=64@bit", "ivfflat:lists=12@vector"],
        "lab.n": "20",
        "lab.seed": "3",
        "lab.k": "7",
        "lab.category": "Sea",
        "lab.f": ["year>=1985"],
        "lab.rounds": "2",
        "lab.clients": "1,4,8",
        "lab.probes": "1, 5",
        "lab.ef": "20, 40",
        "lab.iterative": "relaxed",
        "lab.oversampling": "4",
        "lab.recall": "0.9",
        "lab.p95": "50",
        "lab.priority": "size",
    }
    shown = {
        "lab.index": ["hnsw:m=16,ef_construction=64@bit", "ivfflat:lists=12@vector"],
        "lab.n": 20,
        "lab.seed": 3,
        "lab.k": 7,
        "lab.category": "Sea",
        "lab.f": ["year>=1985"],
        "lab.rounds": 2,
        "lab.clients": (1, 4, 8),
        "lab.probes": "1, 5",
        "lab.ef": "20, 40",
        "lab.iterative": "relaxed",
        "lab.oversampling": 4,
        "lab.recall": 0.9,
        "lab.p95": 50.0,
        "lab.priority": "size",
    }
    check_link(visit("index_lab", **link), link, shown)


def test_a_link_to_an_experiment_by_a_query_set(earlier: None, visit: Visit) -> None:
    link: Link = {
        "c": "films",
        "part": "new",
        "lab.from": "query_set",
        "lab.set": "vectors",
        "lab.protocol": "ann-benchmarks",
        "lab.aim": "no",
    }
    shown = {"lab.from": "query_set", "lab.set": "vectors", "lab.protocol": "ann-benchmarks"}
    check_link(visit("index_lab", **link), link, {**shown, "lab.aim": False})


@pytest.mark.parametrize("result", ["settings", "queries", "table", "take"])
def test_links_to_the_results_of_an_experiment(earlier: None, visit: Visit, result: str) -> None:
    experiment = id_of("experiments", "First")
    setting = "HNSW m 4, ef_construction 16|10|strict_order"
    link: Link = {"c": "films", "exp": experiment, "result": result}
    shown: dict[str, object] = {"exp": experiment, "result": result}
    if result in ("queries", "take"):
        link["setting"] = shown["setting"] = setting
    check_link(visit("index_lab", **link), link, shown)


def test_a_link_to_two_experiments(earlier: None, visit: Visit) -> None:
    first, second = (id_of("experiments", name) for name in ("First", "Second"))
    link: Link = {"c": "films", "exp": first, "result": "compare", "versus": second}
    check_link(visit("index_lab", **link), link, {"versus": second})


@pytest.mark.parametrize("part", ["all", "disk"])
def test_links_to_the_parts_of_the_lab(earlier: None, visit: Visit, part: str) -> None:
    link: Link = {"c": "films", "part": part}
    check_link(visit("index_lab", **link), link, {"part": part})


def test_a_link_to_two_maps(earlier: None, visit: Visit) -> None:
    flat, round_ = (id_of("projections", name) for name in ("Flat", "Round"))
    link: Link = {
        "c": "films",
        "map": flat,
        "beside": round_,
        "clusters": "kmeans",
        "groups": "4",
        "color": "category",
        "view": "finds",
        "find": "strangers",
    }
    shown: dict[str, object] = {
        "map": flat,
        "beside": round_,
        "clusters": "kmeans",
        "groups": 4,
        "color": "category",
        "view": "finds",
        "find": "strangers",
    }
    check_link(visit("map", **link), link, shown)


@pytest.mark.parametrize(
    ("color", "view"), [("fidelity", "fidelity"), ("placed", "index"), ("field:year", "maps")]
)
def test_links_to_views_of_a_map(earlier: None, visit: Visit, color: str, view: str) -> None:
    link: Link = {
        "c": "films",
        "map": id_of("projections", "Flat"),
        "color": color,
        "view": view,
    }
    check_link(visit("map", **link), link, {"color": color, "view": view})


def test_a_link_to_a_selection_on_a_map(earlier: None, visit: Visit) -> None:
    chosen = ",".join(
        id_of("documents_films", name).replace("-", "") for name in ("film-4", "film-8")
    )
    link: Link = {
        "c": "films",
        "map": id_of("projections", "Flat"),
        "sel": chosen,
        "zoom": "true",
        "q": "whales",
        "names": "3",
    }
    app = visit("map", **link)
    check_link(app, link, {"zoom": True, "q": "whales", "names": 3})
    assert "Film 4" in str([frame.value for frame in app.dataframe])


@pytest.mark.parametrize("page", ["collections", "upload"])
def test_links_to_pages_with_a_collection_alone(earlier: None, visit: Visit, page: str) -> None:
    app = visit(page, c="notes")
    check_link(app, {"c": "notes"}, {} if page == "collections" else {"c": "notes"})


def test_a_link_to_reembedding(earlier: None, visit: Visit) -> None:
    link: Link = {"c": "notes", "model": "openai/text-embedding-3-small"}
    check_link(visit("reembed", **link), link, {})
