"""The map as a figure: every point is drawn once, where it lies, in the colour that it has."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lib.projection.coloring import (
    MAX_CATEGORIES,
    NO_CATEGORY,
    CategoricalColoring,
    NumericColoring,
    categorical_coloring,
)
from lib.projection.document_details import DocumentDetails
from lib.projection.placing import QueryPlacement
from lib.ui.map.figures import MAX_LEGEND_ENTRIES, map_figure
from lib.ui.map.map_layer import layer_data
from lib.ui.map.model import ClusterName, Question
from lib.ui.map.points import (
    MAX_HOVER_BYTES,
    MAX_SNIPPET_POINTS,
    MapPoints,
    frame_of,
    map_points,
)
from lib.vectors.search import SearchResult

COUNT = 50
RNG = np.random.default_rng(2)
AT = RNG.standard_normal((COUNT, 2)).astype(np.float32)


def details(count: int) -> DocumentDetails:
    return DocumentDetails(
        exists=np.ones(count, dtype=bool),
        titles=tuple(f"Title <{n}>" for n in range(count)),
        categories=("a",) * count,
        snippets=("It begins",) * count,
        metadata={},
    )


def question(at: tuple[float, ...] | None, hits: tuple[int, ...]) -> Question:
    placement = None
    if at is not None:
        placement = QueryPlacement(
            np.array(at, np.float32), np.array(hits), np.ones(1, np.float32), 0.0
        )
    nothing = SearchResult(hits=(), statement=None, asked=0)  # type: ignore[arg-type]
    return Question("what?", None, nothing, placement, "", hits, 0)


def draw(
    coloring: CategoricalColoring | NumericColoring,
    points: MapPoints | None = None,
    **given: object,
) -> list[dict]:
    options = {"questions": (), "selected": np.arange(0), "zoom": False}
    figure = map_figure(
        points or map_points(AT, details(COUNT)), coloring, revision="1", **{**options, **given}
    )
    return [trace.to_plotly_json() for trace in figure.data]


def kinds() -> CategoricalColoring:
    codes = np.arange(COUNT, dtype=np.int32) % 4 - 1
    return CategoricalColoring("Category", codes, ("x", "y", "z"))


def drawn_points(traces: list[dict]) -> list[int]:
    return [int(place) for trace in traces for place in trace["customdata"]]


def test_each_point_is_drawn_once_where_it_lies() -> None:
    traces = draw(kinds())
    assert sorted(drawn_points(traces)) == list(range(COUNT))
    for trace in traces:
        places = np.asarray(trace["customdata"])
        np.testing.assert_array_equal(np.stack([trace["x"], trace["y"]], axis=1), AT[places])
    assert [trace["name"] for trace in traces] == ["none", "x", "y", "z"]
    colors = [trace["marker"]["color"] for trace in traces]
    assert len(set(colors)) == 4


def test_numbers_that_are_not_known_are_grey() -> None:
    values = RNG.random(COUNT)
    values[:7] = np.nan
    grey, colored = draw(NumericColoring("Year", values))
    assert sorted(grey["customdata"].tolist()) == list(range(7))
    np.testing.assert_allclose(colored["marker"]["color"], values[7:], rtol=1e-6)
    assert isinstance(grey["marker"]["color"], str)


def test_selected_points_stand_out_in_every_trace() -> None:
    chosen = np.array([1, 2, 30])
    found = [
        int(trace["customdata"][n])
        for trace in draw(kinds(), selected=chosen)
        for n in trace["selectedpoints"]
    ]
    assert sorted(found) == chosen.tolist()
    assert all("selectedpoints" not in trace for trace in draw(kinds()))


def test_a_flat_picture_is_the_same_whatever_is_asked() -> None:
    """So it is not sent again: the questions lie in a layer above it."""
    options = {"zoom": False, "revision": "1"}
    points, nothing = map_points(AT, details(COUNT)), np.arange(0)
    asked = map_figure(points, kinds(), [question((0.0, 0.0), (1,))], nothing, **options)
    assert asked.to_json() == map_figure(points, kinds(), (), nothing, **options).to_json()


def test_the_layer_has_the_questions_and_the_hits_of_the_last_one() -> None:
    first, second = question((0.0, 0.0), (1,)), question((1.0, 2.0), (3, 5))
    data = layer_data(map_points(AT, details(COUNT)), (), 9, [first, second])
    assert data["questions"] == [[0.0, 0.0, "what?"], [1.0, 2.0, "what?"]]
    assert data["placed"]
    np.testing.assert_allclose(data["hits"], AT[[3, 5]])


def test_a_question_without_a_place_shows_its_hits() -> None:
    first, second = question((0.0, 0.0), (1,)), question(None, (4,))
    data = layer_data(map_points(AT, details(COUNT)), (), 9, [first, second])
    assert data["questions"] == [[0.0, 0.0, "what?"]]
    assert not data["placed"]  # no lines to the hits: the first question's star is not theirs
    np.testing.assert_allclose(data["hits"], AT[[4]])


def test_the_layer_has_all_names_the_largest_first() -> None:
    names = [ClusterName("small", (1.0, 2.0), 3), ClusterName("large <b>", (3.0, 4.0), 30)]
    data = layer_data(map_points(AT, details(COUNT)), names, 1, ())
    assert data["names"] == [[3.0, 4.0, "large <b>"], [1.0, 2.0, "small"]]
    assert (data["most"], data["questions"], data["hits"]) == (1, [], [])


@pytest.mark.parametrize("is_3d", [False, True])
def test_kinds_beyond_the_legend_are_one_trace_in_their_own_looks(is_3d: bool) -> None:
    count = (MAX_LEGEND_ENTRIES + 13) * 3
    codes = np.arange(count, dtype=np.int32) % (MAX_LEGEND_ENTRIES + 13)
    coloring = CategoricalColoring(
        "Cluster", codes, tuple(f"c{n}" for n in range(MAX_LEGEND_ENTRIES + 13))
    )
    at = RNG.standard_normal((count, 3 if is_3d else 2)).astype(np.float32)
    traces = draw(coloring, map_points(at, details(count)))
    assert sorted(drawn_points(traces)) == list(range(count))
    assert len(traces) == MAX_LEGEND_ENTRIES + 1
    rest = traces[-1]
    assert rest["name"] == "13 more"
    scale = rest["marker"]["colorscale"]
    colors = {low[1] for low in scale}
    assert len(colors) * 2 == len(scale)
    # The looks go round: the kind 20 after another looks like it.
    first = {trace["name"]: trace["marker"] for trace in traces[:-1]}
    for place, color, sign in zip(
        rest["customdata"], rest["marker"]["color"], rest["marker"]["symbol"], strict=True
    ):
        like = first[f"c{codes[place] - MAX_LEGEND_ENTRIES}"]
        assert (scale[2 * color][1], sign) == (like["color"], like["symbol"])


def test_texts_are_shown_as_they_are_and_left_out_where_they_are_too_many() -> None:
    few = map_points(AT, details(COUNT))
    assert few.hover_text(3) == "<b>Title &lt;3&gt;</b><br>a<br>It begins"
    (trace,) = draw(NumericColoring("Year", np.arange(COUNT, dtype=np.float64)), few)
    assert (trace["hovertext"][3], trace["text"][3]) == ("Title &lt;3&gt;", "a<br>It begins")
    assert trace["hovertemplate"] == "<b>%{hovertext}</b><br>%{text}<extra></extra>"
    alone = replace(details(COUNT), categories=(None,) * COUNT, snippets=("",) * COUNT)
    assert map_points(AT, alone).hover_text(3) == "<b>Title &lt;3&gt;</b>"
    (trace,) = draw(
        NumericColoring("Year", np.arange(COUNT, dtype=np.float64)), map_points(AT, alone)
    )
    assert trace["hovertemplate"] == "<b>%{hovertext}</b><extra></extra>"
    many = MAX_SNIPPET_POINTS + 1
    assert map_points(np.zeros((many, 2), np.float32), details(many)).subtitles[0] == "a"


@pytest.mark.parametrize("letter", ["x", "é", "宇", "\U0001f52d", "x宇"])
def test_what_the_points_say_is_bounded_in_bytes(letter: str) -> None:
    many = 40_000
    long = replace(
        details(many),
        titles=(letter * 500,) * many,
        categories=(letter * 500,) * many,
        snippets=("",) * many,
    )
    points = map_points(np.zeros((many, 2), np.float32), long)
    assert points.subtitles is not None
    one = len(json.dumps(points.titles[0])) + len(json.dumps(points.subtitles[0]))
    assert one * many < MAX_HOVER_BYTES * 1.15  # what tells that a text goes on comes on top
    assert len(points.titles[0]) >= 8
    few = map_points(AT, replace(details(COUNT), titles=(letter * 500,) * COUNT))
    assert len(few.titles[0]) == 70


def test_three_dimensions() -> None:
    is_3d = map_points(RNG.standard_normal((COUNT, 3)).astype(np.float32), details(COUNT))
    traces = draw(kinds(), is_3d, questions=[question((0.0, 0.0, 0.0), (1, 2))])
    assert {trace["type"] for trace in traces} == {"scatter3d"}
    assert sorted(drawn_points(traces[:4])) == list(range(COUNT))


def test_in_three_dimensions_a_question_has_lines_to_its_hits_and_a_path_to_the_one_before() -> (
    None
):
    at = RNG.standard_normal((COUNT, 3)).astype(np.float32)
    first, second = question((0.0, 0.0, 0.0), (1,)), question((1.0, 1.0, 1.0), (3, 5))
    path, spokes, hits, stars = draw(
        kinds(), map_points(at, details(COUNT)), questions=[first, second]
    )[4:]
    rows = list(zip(spokes["x"], spokes["y"], spokes["z"], strict=True))
    assert list(zip(path["x"], path["y"], strict=True)) == [(0.0, 0.0), (1.0, 1.0)]
    np.testing.assert_allclose([row for row in rows if row[0] is not None][1::2], at[[3, 5]])
    assert list(hits["text"]) == ["1", "2"]
    assert len(stars["x"]) == 2


def test_points_far_from_the_rest_do_not_make_it_small() -> None:
    at = np.vstack([RNG.standard_normal((1000, 2)), [[500.0, 500.0]]]).astype(np.float32)
    frame = frame_of(at)
    assert frame.x[1] < 20
    assert MapPoints(at, np.array([]), None).outside >= 1
    around = frame_of(at, np.array([1000]))
    assert around.x[0] <= 500.0 <= around.x[1]
    assert around.y[0] <= 500.0 <= around.y[1]


def test_kinds_are_ordered_by_how_frequent_they_are_and_the_rest_is_one() -> None:
    few = categorical_coloring("Colour", ["b", "a", None, "b"])
    assert (few.labels, few.codes.tolist()) == (("b", "a"), [0, 1, NO_CATEGORY, 0])
    many = categorical_coloring("Colour", [str(n) for n in range(MAX_CATEGORIES + 5)])
    assert len(many.labels) == MAX_CATEGORIES
    assert many.labels[-1] == "6 others"
    assert np.bincount(many.codes)[-1] == 6
