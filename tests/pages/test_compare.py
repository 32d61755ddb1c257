"""Compare: how do the answers differ, and what does each index miss?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from lib.lab.candidates import start_candidate_builds
from lib.search.bm25 import start_lexical_build
from lib.search.compare import Preset
from lib.search.filters import Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.store.candidates import CandidateSpec
from lib.store.collections import Collection
from lib.store.production import start_index_build
from lib.ui.shared.links import compare_params
from lib.vectors.distance import ElementType
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.statements import TextMethod, TextQuery
from tests.pages.conftest import FILMS, Library, go, words

Visit = Callable[..., AppTest]

# As many as there are films: pgvector takes each row for a centre then, and one list holds one.
LISTS = 120
QUESTION = "the murder of a criminal father"


def build_candidates(library: Library, collection: Collection) -> None:
    services = library.services
    held = ElementType.of(collection.storage)
    specs = [CandidateSpec(IVFFLAT.spec(lists=LISTS), held), CandidateSpec(HNSW.spec(), held)]
    services.database.run(
        start_candidate_builds(services.jobs, services.database, collection, specs)
    )
    library.wait()


def labels(app: AppTest) -> list[str]:
    """The names of the columns, as the chart has them."""
    [figure] = app.get("plotly_chart")
    names = json.loads(figure.proto.spec)["layout"]["xaxis"]["ticktext"]
    return [name.replace("<br>", " ") for name in names]


def column_links(app: AppTest) -> list[dict[str, list[str]]]:
    """What stands in the links of the columns to Search."""
    links = [link.proto for link in app.get("page_link") if link.proto.label == "Search"]
    return [parse_qs(link.query_string) for link in links]


def test_without_candidates_a_first_look_compares_the_two_sides(
    visit: Visit, library: Library
) -> None:
    library.films()
    app = visit("compare", q=QUESTION)
    assert app.query_params["preset"] == "modes"
    assert labels(app) == ["Semantic", "Keyword", "Hybrid"]
    # All four films are near in some way, and one has words of the question.
    assert "in every column" in words(app)
    assert "How alike the answers are" in words(app)
    assert not app.error


def test_without_a_question_there_are_some_to_try(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("compare")
    examples = [link.proto for link in app.get("page_link") if link.proto.label != "Search"]
    assert {link.label for link in examples} == {title for title, *_ in FILMS} - {"Deep Water"}
    assert all("preset=modes" in link.query_string for link in examples)
    assert not app.get("plotly_chart")


def test_indexes_are_built_compared_and_x_rayed(visit: Visit, library: Library) -> None:
    library.many_films()
    app = visit("compare", q=QUESTION, preset="indexes")
    [button] = [button for button in app.button if button.label.startswith("Build IVFFlat and")]
    assert button.label == "Build IVFFlat and HNSW for 120 documents"
    button.click().run()
    library.wait()
    app.run()
    assert labels(app) == ["Exact", "IVFFlat", "HNSW"]
    assert len([e for e in app.markdown if "Certified" in e.value]) == 2
    lists = int(app.slider(key="2.probes").max)
    app.slider(key="2.probes").set_value(lists).run()
    assert app.query_params["2.probes"] == str(lists)
    assert f"**IVFFlat** found all 10 at probes = {lists}" in words(app)
    assert not app.error


def test_what_one_list_misses_is_named_and_its_probes_find_it(
    visit: Visit, library: Library
) -> None:
    films = library.many_films()
    build_candidates(library, films)
    app = visit("compare", q=QUESTION, k="30")
    assert app.query_params["preset"] == "indexes"
    assert "What IVFFlat missed at probes = 1" in words(app)
    found = re.search(r"All are found from probes = (\d+)", words(app))
    assert found is not None
    app.slider(key="2.probes").set_value(int(found[1])).run()
    assert "What IVFFlat missed" not in words(app)
    app.slider(key="2.probes").set_value(int(found[1]) - 1).run()
    assert "What IVFFlat missed" in words(app)


def test_each_column_has_its_own_settings_in_the_address(visit: Visit, library: Library) -> None:
    library.films()
    shared = {
        "preset": "modes",
        "1.mode": "text",
        "1.text_text": "plain",
        "2.category": "Movie",
        "3.w": "0.2",
        "3.fusion": "rrf",
        "cols": "13",
    }
    app = visit("compare", q="heist", **shared)
    assert labels(app) == ["Keyword · All words", "Hybrid · Any word"]
    assert {name: app.query_params[name] for name in shared} == shared
    one, other = column_links(app)
    page = {"c": ["films"], "q": ["heist"]}
    assert one == page | {"mode": ["text"], "text_text": ["plain"]}
    assert other == page | {"w": ["0.2"], "fusion": ["rrf"]}


def test_a_column_has_its_own_threshold(visit: Visit, library: Library) -> None:
    films, services = library.films(), library.services
    asked = SearchRequest(QUESTION, Mode.SIMILARITY)
    found = services.database.run(services.search.search(films, asked)).hits
    nearest, *_, last = [hit.distance or 0.0 for hit in found]
    between = round((nearest + last) / 2, 2)
    expected = sum((hit.distance or 0.0) < between for hit in found)
    assert 0 < expected < len(FILMS)

    app = visit("compare", q=QUESTION, preset="modes", **{"3.mode": "similarity"})
    assert not app.toggle(key="1.near").value
    assert "2.near" not in [toggle.key for toggle in app.toggle]  # words know no distance
    app.toggle(key="3.near").set_value(True).run()
    app.slider(key="3.d").set_value(between).run()
    assert labels(app) == ["Semantic", "Keyword", f"Semantic · nearer than {between:g}"]
    figures = [e.value for e in app.markdown if " document" in e.value and "ms" in e.value]
    assert figures[0].startswith("**4 documents**")
    assert figures[2].startswith(f"**{expected} document")
    own = {"3.near": "true", "3.d": f"{between:g}"}
    assert {name: app.query_params[name] for name in own} == own
    assert column_links(app)[2]["d"] == [f"{between:g}"]
    again = visit("compare", q=QUESTION, preset="modes", **{"3.mode": "similarity"}, **own)
    assert labels(again) == labels(app)


def test_a_threshold_cuts_what_an_index_can_miss(visit: Visit, library: Library) -> None:
    films, services = library.many_films(), library.services
    build_candidates(library, films)
    asked = SearchRequest(QUESTION, Mode.SIMILARITY, limit=30)
    found = services.database.run(services.search.search(films, asked)).hits
    near = round((found[9].distance or 0.0) + 0.005, 2)
    below = sum((hit.distance or 0.0) < near for hit in found)
    assert 10 <= below < 30
    each = {"2.near": "true", "2.d": f"{near:g}", "3.near": "true", "3.d": "0.05"}
    app = visit("compare", q=QUESTION, preset="indexes", k="30", **each)
    assert re.search(rf"\*\*\d+ of {below}\*\* true nearest", words(app))
    assert "has nothing to find: no document is nearer than its threshold" in words(app)
    assert not app.error


def test_columns_are_added_and_left_out(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("compare", q=QUESTION, preset="weights")
    assert labels(app) == ["Weight 0.3", "Weight 0.5", "Weight 0.7"]
    press(app, "Add a column")
    assert labels(app) == ["Weight 0.3", "Weight 0.5", "Weight 0.7", "Weight 0.9"]
    assert app.query_params["cols"] == "1234"
    assert button(app, "Add a column").disabled
    app.button(key="leave_out_1").click().run()
    app.button(key="leave_out_3").click().run()
    assert labels(app) == ["Weight 0.5", "Weight 0.9"]
    assert app.button(key="leave_out_2").disabled
    go(app, "search")
    go(app, "compare")  # as the navigation does: with nothing in the address
    assert labels(app) == ["Weight 0.5", "Weight 0.9"]
    assert app.query_params["preset"] == "weights"


def test_another_preset_begins_afresh(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("compare", q=QUESTION, preset="weights")
    app.slider(key="2.w").set_value(0.9).run()
    app.button(key="leave_out_1").click().run()
    assert labels(app) == ["Weight 0.9", "Weight 0.7"]
    app.radio(key="preset").set_value(Preset.MODES).run()
    assert labels(app) == ["Semantic", "Keyword", "Hybrid"]
    assert app.slider(key="3.w").value == 0.5
    assert set(app.query_params) == {"c", "q", "preset"}
    app.radio(key="preset").set_value(Preset.WEIGHTS).run()
    assert labels(app) == ["Weight 0.3", "Weight 0.5", "Weight 0.7"]
    go(app, "compare", q=QUESTION, preset="weights", **{"1.w": "0.1"})
    assert labels(app) == ["Weight 0.1", "Weight 0.5", "Weight 0.7"]
    go(app, "search")
    go(app, "compare", q=QUESTION, preset="weights")  # a link says all that differs
    assert labels(app) == ["Weight 0.3", "Weight 0.5", "Weight 0.7"]


def test_columns_with_the_same_settings_are_told(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("compare", q=QUESTION, preset="weights", **{"2.w": "0.3"})
    assert labels(app) == ["Weight 0.3", "Weight 0.3 (2)", "Weight 0.7"]
    assert "have the same settings" in app.warning[0].value


def test_bm25_needs_a_word_index_and_says_where_to_build_it(visit: Visit, library: Library) -> None:
    films = library.films()
    app = visit("compare", q="heist", preset="rankings")
    assert "BM25 index, which is not built yet" in app.warning[0].value
    assert "Build the BM25 index" in [link.proto.label for link in app.get("page_link")]
    assert not app.error
    services = library.services
    services.database.run(start_lexical_build(services.jobs, services.database, films))
    library.wait()
    app.run()
    assert labels(app) == ["ts_rank", "ts_rank_cd", "BM25"]
    assert not app.warning


def test_the_collections_own_index_is_certified_and_x_rayed(visit: Visit, library: Library) -> None:
    films, services = library.many_films(), library.services
    services.database.run(
        start_index_build(services.jobs, services.database, films, IVFFLAT.spec(lists=LISTS))
    )
    library.wait()
    own = {"1.scan": "exact", "3.mode": "similarity", "3.scan": "index", "3.probes": "1"}
    app = visit("compare", q=QUESTION, preset="modes", k="30", **own)
    assert labels(app) == ["Semantic · Exact", "Keyword", "Semantic · Own index"]
    assert len([e for e in app.markdown if "Certified" in e.value]) == 1
    assert "What Semantic · Own index missed at probes = 1" in words(app)


def test_without_a_model_only_words_are_compared(visit: Visit, library: Library) -> None:
    library.store(library.create("Given", model="none", dimensions=3))
    app = visit("compare", q="heist")
    assert app.query_params["preset"] == "matching"
    assert app.radio(key="preset").options == [
        Preset.RANKINGS.label,
        Preset.MATCHING.label,
    ]
    assert labels(app) == ["Any word", "Web style", "All words"]
    assert not app.error


BAD: list[dict[str, Any]] = [
    {"preset": "all", "cols": "9", "1.mode": "both", "2.w": "2", "3.fusion": "x", "k": "0"},
    {"preset": "weights", "cols": "1", "1.w": "nan", "2.pool": "5", "3.text_hybrid": "?"},
    {"preset": "modes", "cols": "21", "1.scan": "candidate", "2.category": "?", "3.pool": "1e9"},
]


@pytest.mark.parametrize("bad", BAD)
def test_what_the_address_cannot_mean_is_dropped(
    bad: dict[str, str], visit: Visit, library: Library
) -> None:
    library.films()
    app = visit("compare", q=QUESTION, **bad)
    assert not app.error
    assert len(labels(app)) == 3
    left = {name for name in bad if app.query_params.get(name) == bad[name]}
    assert left <= {"preset", "1.scan", "2.w"}  # those two are not drawn: no index, no weight


def test_a_search_is_taken_along_to_compare(visit: Visit, library: Library) -> None:
    library.films()
    request = SearchRequest(
        "heist",
        Mode.HYBRID,
        limit=3,
        max_distance=0.9,
        category="Movie",
        vector_weight=0.25,
        fusion=Fusion.RRF,
        text_query=TextQuery.WEB,
        text_method=TextMethod.TS_RANK_CD,
        filters=(Filter("year", FilterOp.EXISTS),),
    )
    address = compare_params("films", request)
    assert address == {
        "preset": "modes",
        "c": "films",
        "q": "heist",
        "k": "3",
        "1.category": "Movie",
        "2.category": "Movie",
        "3.category": "Movie",
        "1.f": ["year"],
        "2.f": ["year"],
        "3.f": ["year"],
        "3.w": "0.25",
        "3.near": "true",
        "3.d": "0.9",
        "3.fusion": "rrf",
        "3.text_hybrid": "web",
        "3.rank": "ts_rank_cd",
    }
    plain = {name: value for name, value in address.items() if isinstance(value, str)}
    app = visit("compare", **plain)
    assert not app.error
    assert app.slider(key="3.w").value == 0.25
    assert app.slider(key="k").value == 3


def test_hnsw_is_offered_to_every_column(visit: Visit, library: Library) -> None:
    build_candidates(library, library.many_films())
    app = visit("compare", q=QUESTION, preset="indexes")
    names = app.selectbox(key="1.scan").options
    assert names == [
        "Exact (compare all)",
        f"Candidate: {HNSW.label} m 16, ef_construction 64",
        f"Candidate: {IVFFLAT.label} lists {LISTS}",
    ]
    one, other, third = column_links(app)
    assert one["scan"] == ["exact"]
    assert (other["probes"], third["ef"]) == (["1"], ["40"])
    wide = {"3.ef": "100", "1.scan": third["scan"][0], "1.ef": "20"}
    go(app, "compare", q=QUESTION, preset="indexes", **wide)
    assert labels(app) == ["HNSW · ef_search 20", "IVFFlat", "HNSW · ef_search 100"]


def test_search_goes_through_a_candidate_too(visit: Visit, library: Library) -> None:
    build_candidates(library, library.many_films())
    _, one_list, _ = column_links(visit("compare", q=QUESTION, preset="indexes"))
    app = visit("search", **{name: values[0] for name, values in one_list.items()})
    assert app.selectbox(key="scan").value == one_list["scan"][0]
    assert app.slider(key="probes").value == 1
    [badge] = [element for element in app.markdown if "Approximate" in element.value]
    assert "ivfflat" in str(badge.help)
    assert "**1 document**" in words(app)
    app = visit("search", q=QUESTION, scan="0123abcd")
    assert r"asks for the candidate 0123abcd" in app.warning[0].value


def button(app: AppTest, label: str) -> Any:
    [found] = [button for button in app.button if button.label == label]
    return found


def press(app: AppTest, label: str) -> None:
    button(app, label).click().run()
    assert not app.exception
