"""Map: what is in there, and where does a question land?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lib.projection.build import start_projection
from lib.projection.repository import ProjectionSummary, get_projection, list_projections
from lib.projection.settings import Method, ProjectionSettings
from lib.store.collections import Collection
from tests.pages.conftest import FILMS, Library, words

Visit = Callable[..., AppTest]


def draw(library: Library, collection: Collection, **settings: Any) -> ProjectionSummary:
    services = library.services
    wanted = ProjectionSettings(method=Method.PCA, **settings)
    services.database.run(start_projection(services.jobs, services.database, collection, wanted))
    library.wait()
    return services.database.query(list_projections, collection)[0]


def ids(library: Library, collection: Collection, drawn: ProjectionSummary, *at: int) -> str:
    projection = library.services.database.query(get_projection, collection, drawn.id)
    return ",".join(projection.ids[place].hex for place in at)


def figure(app: AppTest) -> dict[str, Any]:
    [chart] = app.get("plotly_chart")
    found: dict[str, Any] = json.loads(chart.proto.spec)
    return found


def layer(app: AppTest) -> dict[str, Any]:
    """What lies over the picture."""
    [above] = app.get("bidi_component")
    found: dict[str, Any] = json.loads(above.proto.json)
    return found


def test_without_documents_the_next_step_is_said(visit: Visit, library: Library) -> None:
    assert "There is no collection yet" in words(visit("map"))
    library.create()
    assert "no documents yet" in words(visit("map"))


def test_the_first_map_is_one_button_away(visit: Visit, library: Library) -> None:
    library.many_films()
    app = visit("map")
    assert "no map of this collection yet" in words(app)
    [button] = [button for button in app.button if button.label.startswith("Build the map of 120")]
    assert "about" in button.label


def test_too_few_documents_are_a_sentence(visit: Visit, library: Library) -> None:
    library.films()
    app = visit("map")
    [button] = [button for button in app.button if button.label.startswith("Build the map of 4")]
    button.click().run()
    assert "fewer than 5" in words(app) or "at least 5" in words(app)
    assert not app.exception


def test_points_colours_and_a_question(visit: Visit, library: Library) -> None:
    collection = library.many_films()
    draw(library, collection)
    app = visit("map", color="category", q="a bank robbery\nroses in a garden", step="2")
    traces = figure(app)["data"]
    assert [trace["name"] for trace in traces][:3] == ["Documentary", "Movie", "TV Show"]
    above = layer(app)
    assert [question[2] for question in above["questions"]] == [
        "a bank robbery", "roses in a garden",
    ]  # fmt: skip
    assert above["placed"]
    assert len(above["hits"]) > 0
    assert len(above["names"]) > 0
    assert "roses in a garden" in words(app)
    assert "The axes have no unit" in words(app)


def test_clusters_of_the_vectors_replace_density_clusters(visit: Visit, library: Library) -> None:
    collection = library.many_films()
    draw(library, collection)
    app = visit("map", clusters="kmeans", groups="4")
    names = [trace["name"] for trace in figure(app)["data"]]
    assert len(names) == 4  # and none is in no cluster
    assert "none" not in names


def test_a_link_opens_the_selection(visit: Visit, library: Library) -> None:
    collection = library.many_films()
    drawn = draw(library, collection)
    app = visit("map", map=str(drawn.id), sel=ids(library, collection, drawn, 0, 1))
    assert "2 documents selected" in words(app)
    true, drawn_apart = app.metric
    assert true.label.startswith("True distance")
    assert drawn_apart.label == "Distance on the map"
    assert "selectedpoints" in json.dumps(figure(app))
    [like] = [each for each in app.get("page_link") if "more like these" in each.proto.label]
    assert like.proto.query_string.count("%2C") == 1  # two ids
    [clear] = [button for button in app.button if button.label == "Clear"]
    clear.click().run()
    assert "Select points to see what they are" in words(app)
    assert "sel" not in app.query_params


def test_data_issues_and_projection_quality(visit: Visit, library: Library) -> None:
    collection = library.many_films()  # each film thirty times, with a number
    draw(library, collection)
    app = visit("map", view="finds")
    [slider] = [slider for slider in app.slider if slider.label.startswith("Nearer than")]
    slider.set_value(slider.max).run()
    assert len(app.dataframe[0].value) > 0
    assert list(app.dataframe[0].value.columns) == ["Document", "and", "Distance"]
    app = visit("map", view="finds", find="outliers")
    assert len(app.dataframe[0].value) == 100
    app = visit("map", view="fidelity")
    assert {metric.label for metric in app.metric} == {
        "Trustworthiness",
        "Continuity",
        "Neighbourhood preservation",
    }


def test_an_index_is_asked_for_only_where_there_is_one(visit: Visit, library: Library) -> None:
    draw(library, library.many_films())
    assert "candidate" in words(visit("map", view="index"))


def test_a_map_is_deleted_after_saying_so_twice(visit: Visit, library: Library) -> None:
    collection = library.many_films()
    draw(library, collection)
    draw(library, collection, seed=2)
    app = visit("map", view="maps")
    assert len(app.dataframe[0].value) == 2
    delete = app.button(key="map_delete")
    assert delete.disabled
    app.checkbox(key="map_delete_sure").check().run()
    app.button(key="map_delete").click().run()
    assert not app.exception
    assert len(library.services.database.query(list_projections, collection)) == 1


@pytest.mark.parametrize(
    "address", [{"map": "nonsense"}, {"sel": "nonsense"}, {"color": "field:x"}]
)
def test_an_address_that_cannot_be_is_left_alone(
    visit: Visit, library: Library, address: dict[str, str]
) -> None:
    draw(library, library.many_films())
    app = visit("map", **address)
    assert not app.error
    assert len(figure(app)["data"]) >= 1


def test_documents_that_came_later_are_placed(visit: Visit, library: Library) -> None:
    collection = library.many_films()
    draw(library, collection)
    many = [(f"{film[0]} {n}", *film[1:]) for n in range(31) for film in FILMS]
    library.store(collection, many)  # four more
    library.embed(collection)
    app = visit("map")
    assert "has changed since" in words(app)
    [place] = [button for button in app.button if button.label == "Place new documents"]
    place.click().run()
    library.wait()
    [drawn] = library.services.database.query(list_projections, collection)
    assert (drawn.placed_points, drawn.points, drawn.stale) == (4, 124, False)
