"""The data in the lab's pictures is what was measured (the table of lab_tables)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from lab_tables import GRAPH, GRAPH_FACTS, IVF, IVF_FACTS, TABLE, measured

from lib.colors import EXACT, method_color
from lib.lab.measurement import EXACT_NAME, SearchParameter
from lib.lab.recommend import pareto
from lib.lab.spec import Target
from lib.ui.lab.figures.costs import costs
from lib.ui.lab.figures.queries import latency_shares, recall_histogram
from lib.ui.lab.figures.sweep import by_parameter
from lib.ui.lab.figures.throughput import by_clients
from lib.ui.lab.figures.trade_off import recall_qps
from lib.ui.lab.measurement_rows import in_order, key_of, measurement_rows
from lib.vectors.index_methods import HNSW, IVFFLAT, IterativeScan

RECOMMENDED = TABLE[4]  # HNSW, ef_search 40


def traces(figure: go.Figure, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def test_recall_stands_against_queries_a_second() -> None:
    figure = recall_qps(TABLE, pareto(TABLE)).figure
    [ivf], [graph], [exact] = (traces(figure, name) for name in (IVF, GRAPH, EXACT_NAME))
    assert list(ivf.x) == [0.50, 0.93, 0.97]
    assert list(ivf.y) == [2000.0, 500.0, 200.0]
    assert list(graph.x) == [0.88, 0.965, 0.995]
    assert list(graph.y) == [2500.0, 1250.0, 400.0]
    assert (list(exact.x), list(exact.y)) == ([1.0], [25.0])
    assert figure.layout.yaxis.type == "log"
    # A colour for each kind of index; the intervals are ± 0.01.
    assert [each.marker.color for each in (ivf, graph, exact)] == [
        "#E69F00",
        "#0072B2",
        EXACT,
    ]
    assert list(ivf.error_x.array) == pytest.approx([0.01] * 3)
    assert list(ivf.error_x.arrayminus) == pytest.approx([0.01] * 3)


def test_the_pareto_line_goes_through_its_points() -> None:
    [line] = traces(recall_qps(TABLE, pareto(TABLE)).figure, "best there is (Pareto line)")
    assert list(zip(line.x, line.y, strict=True)) == [
        (0.88, 2500.0),
        (0.965, 1250.0),
        (0.995, 400.0),
        (1.0, 25.0),
    ]


def test_a_point_knows_its_measurement() -> None:
    figure = recall_qps(TABLE, ()).figure
    [graph] = traces(figure, GRAPH)
    assert [point[0] for point in graph.customdata] == [key_of(each) for each in TABLE[3:6]]
    assert "recall@10 0.9650" in graph.customdata[1][1]
    assert "(95 % interval 0.9550–0.9750)" in graph.customdata[1][1]
    assert "p50 0.800 ms, p95 1.600 ms, p99 2.400 ms" in graph.customdata[1][1]


def test_the_title_says_what_the_recommended_setting_does() -> None:
    picture = recall_qps(TABLE, (), Target(0.95), recommended=RECOMMENDED)
    # 1 / 0.8 ms against 1 / 40 ms
    assert picture.title == (
        f"With 95 % recall or more {GRAPH} answers 1,250 queries a second, 50.0 × the exact scan"
    )
    assert picture.figure.layout.annotations[-1].text == "<b>ef_search 40</b>"
    assert recall_qps(TABLE, (), Target(0.95)).title.endswith("?")


def test_what_is_not_certified_is_hollow_and_named_so() -> None:
    table = [replace(each, certified=each is not RECOMMENDED) for each in TABLE]
    figure = recall_qps(table, ()).figure
    [graph] = traces(figure, GRAPH)
    assert list(graph.marker.symbol) == ["circle", "circle-open", "circle"]
    assert "NOT CERTIFIED" in graph.customdata[1][1]
    assert len(traces(figure, "hollow: not certified")) == 1
    assert traces(recall_qps(TABLE, ()).figure, "hollow: not certified") == []


def test_candidates_of_one_kind_have_one_colour_and_their_own_forms() -> None:
    other = "HNSW m 32, ef_construction 128"
    table = [*TABLE, measured(other, HNSW, 40, 0.98, 1.0)]
    figure = recall_qps(table, ()).figure
    [first], [second] = traces(figure, GRAPH), traces(figure, other)
    assert first.marker.color == second.marker.color == method_color(HNSW)
    assert first.marker.symbol[0] != second.marker.symbol[0]


def test_each_way_to_scan_on_has_a_line() -> None:
    relaxed = replace(TABLE[4], setting=SearchParameter(HNSW, 40, IterativeScan.RELAXED))
    figure = recall_qps([*TABLE[3:6], relaxed], ()).figure
    assert [len(trace.x) for trace in figure.data] == [3, 1]
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash"]
    assert key_of(relaxed) != key_of(TABLE[4])
    assert relaxed.label == f"{GRAPH}, ef_search 40, iterative scan in relaxed order"


def test_recall_and_latency_stand_by_the_parameter() -> None:
    figure = by_parameter(TABLE, Target(0.95, p95_ms=20)).figure
    recall, p50, p95 = traces(figure, GRAPH)
    assert list(recall.x) == list(p50.x) == list(p95.x) == [10, 40, 200]
    assert list(recall.y) == [0.88, 0.965, 0.995]
    assert list(p50.y) == [0.4, 0.8, 2.5]
    assert list(p95.y) == [0.8, 1.6, 5.0]
    assert traces(figure, EXACT_NAME) == []  # it has no parameter
    goals = [(shape.yref, shape.y0) for shape in figure.layout.shapes]
    assert {y for _, y in goals} == {0.95, 20}
    labels = {axis.ticktext for axis in figure.select_xaxes() if axis.ticktext}
    assert labels == {("1", "10", "30"), ("10", "40", "200")}


def test_the_share_of_queries_within_a_time() -> None:
    picture = latency_shares([RECOMMENDED])  # three of 0.8 ms, one of 2.4
    [line] = picture.figure.data
    assert list(line.x) == pytest.approx([0.8, 0.8, 0.8, 2.4])
    assert list(line.y) == [0.25, 0.5, 0.75, 1.0]
    assert [row["query"] for row in picture.rows] == [0, 1, 2, 3]
    assert [row["latency_ms"] for row in picture.rows] == pytest.approx([0.8, 0.8, 0.8, 2.4])


def test_lines_of_one_colour_differ_and_dots_are_not_certified() -> None:
    other = measured("HNSW m 32, ef_construction 128", HNSW, 40, 0.98, 1.0)
    doubtful = measured(IVF, IVFFLAT, 10, 0.93, 2.0, certified=False)
    lines = latency_shares([RECOMMENDED, other, doubtful]).figure.data
    assert [line.line.dash for line in lines] == ["solid", "dash", "dot"]
    assert "not certified" in lines[2].name


def test_queries_are_counted_by_their_recall() -> None:
    recalls = np.array([1.0, 0.9, 0.9, 0.0, 1.0, 1.0])
    worst = replace(RECOMMENDED, recalls=recalls, recall=replace(RECOMMENDED.recall, zero=1))
    picture = recall_histogram(worst)
    [bars] = picture.figure.data
    assert dict(zip(bars.x, bars.y, strict=True)) == {0.0: 1, 0.9: 2, 1.0: 3}
    assert picture.title == "3 of 6 queries found all of their true neighbours, 1 found none"


def test_many_different_recalls_are_counted_in_bins() -> None:
    recalls = np.arange(200) / 199
    [bars] = recall_histogram(replace(RECOMMENDED, recalls=recalls)).figure.data
    assert len(bars.x) == 50
    assert sum(bars.y) == 200


def test_clients_and_costs() -> None:
    several = measured(GRAPH, HNSW, 40, 0.96, 1.0, qps={4: 3000.0, 1: 1000.0})
    [line] = by_clients([several]).figure.data
    assert (list(line.x), list(line.y)) == ([1, 4], [1000.0, 3000.0])
    picture = costs([IVF_FACTS, GRAPH_FACTS])
    built, kept = picture.figure.data
    assert list(built.x) == [2.0, 20.0]
    assert list(kept.x) == pytest.approx([20e6 / 2**20, 80e6 / 2**20])
    assert list(built.marker.color) == ["#E69F00", "#0072B2"]
    assert picture.title == f"{IVF} is the smallest (19 MB) and the quickest to build (2.0 s)"


def test_the_rows_to_download_are_the_measurements() -> None:
    shuffled = [TABLE[each] for each in (6, 5, 0, 3, 2, 4, 1)]
    rows = measurement_rows(shuffled)
    assert [key_of(each) for each in in_order(shuffled)] == [
        *(key_of(TABLE[each]) for each in (3, 4, 5, 0, 1, 2, 6)),
    ]
    by_key = {(row["candidate"], row["value"]): row for row in rows}
    found = by_key[IVF, 10]
    assert (found["recall"], found["p50_ms"], found["qps_1"]) == (0.93, 2.0, 500.0)
    assert by_key[EXACT_NAME, None]["parameter"] == ""


def test_keys_tell_measurements_apart() -> None:
    assert len({key_of(each) for each in TABLE}) == len(TABLE)


def test_no_measurement_is_no_failure() -> None:
    for picture in (recall_qps((), ()), by_parameter(()), latency_shares(()), costs(())):
        assert picture.rows == ()
