"""An experiment as JSON, CSV and a page, read back by other means than they were written by."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from lab_tables import GRAPH, GRAPH_FACTS, TABLE, experiment, measured

from lib.lab.measurement import Protocol
from lib.lab.report import experiment_csv, experiment_json
from lib.lab.report_page import experiment_page, recall_figure
from lib.lab.spec import ExperimentSpec, Target
from lib.vectors.index_methods import HNSW, IterativeScan


def test_the_json_has_what_the_command_line_promises() -> None:
    found = json.loads(json.dumps(experiment_json(experiment(), "Library"), allow_nan=False))
    at_40 = next(each for each in found["measurements"] if each["parameter"]["value"] == 40)
    assert at_40 == {
        "candidate": GRAPH,
        "spec": "hnsw:m=16,ef_construction=64@vector",
        "parameter": {"name": "ef_search", "value": 40, "iterative_scan": "off"},
        "k": 10,
        "queries": 4,
        "rounds": 3,
        "recall": pytest.approx({"mean": 0.965, "low": 0.955, "high": 0.975}),
        "id_recall": 0.965,
        "worst_decile_recall": 0.4825,
        "zero_recall_queries": 0,
        "latency_ms": {"p50": 0.8, "p95": 1.6, "p99": pytest.approx(2.4), "server": None},
        "qps": {"1": 1250.0},
        "certified": True,
        "reason": "The plan used the_index.",
        "plan_index": "the_index",
        "truncated": 0,
        "buffers": 120,
    }
    graph = found["candidates"][1]
    assert (graph["build_seconds"], graph["index_bytes"], graph["rows"]) == (20, 80_000_000, 1e5)
    assert found["environment"]["postgres"] == "18.4"
    assert found["recommendation"]["winner"] == GRAPH
    assert [each["wins"] for each in found["scoreboard"]].count(True) == 2


def test_the_json_may_have_each_query() -> None:
    found = experiment_json(experiment(), "Library", with_queries=True)
    assert found["measurements"][0]["recalls"] == [0.5, 0.5, 0.5, 1.0]
    assert found["measurements"][0]["latencies_ms"] == [0.5, 0.5, 0.5, 1.5]


def test_the_spec_comes_back_from_json() -> None:
    spec = experiment(
        target=Target(0.9, 12.5), values={"probes": (1, 5)}, clients=(1, 4), oversampling=3
    ).spec
    assert ExperimentSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_was_measured_last_stands_where_it_belongs() -> None:
    late = measured(GRAPH, HNSW, 20, 0.92, 0.6)
    found = experiment_json(experiment([*TABLE, late]), "Library")["measurements"]
    assert [each["parameter"]["value"] for each in found] == [1, 10, 30, 10, 20, 40, 200, None]


def test_the_csv_has_a_row_for_each_measurement() -> None:
    text = experiment_csv(experiment()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == [
        *("candidate", "spec", "kind", "parameter", "value", "iterative_scan", "k", "queries"),
        *("rounds", "recall", "recall_low", "recall_high", "id_recall", "worst_decile_recall"),
        *("zero_recall_queries", "p50_ms", "p95_ms", "p99_ms", "server_ms", "truncated"),
        *("buffers", "certified", "reason", "plan_index", "rows", "build_seconds", "index_bytes"),
        *("table_bytes", "qps_1"),
    ]
    assert len(rows) == len(TABLE)
    assert (rows[4]["candidate"], rows[4]["value"], rows[4]["p95_ms"]) == (GRAPH, "40", "1.6")
    assert rows[4]["index_bytes"] == "80000000"
    exact = rows[-1]
    assert (exact["kind"], exact["value"], exact["spec"], exact["rows"]) == ("exact", "", "", "")


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = experiment_page(experiment(), "Library")
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not [
        name for _, attributes in page.tags for name in attributes if name in {"src", "href"}
    ]
    assert not re.search(r"https?:|url\(|@import", html)
    assert len(html) < 100_000
    text = " ".join(page.words).replace("\u00a0", " ")
    for said in (
        f"Take {GRAPH} with ef_search 40",
        "96.5 % of the true neighbours",
        "PostgreSQL",
        "18.4",
        "not reached",
        "hnsw:m=16,ef_construction=64@vector",
    ):
        assert said in text, said
    winners = [attributes for tag, attributes in page.tags if attributes.get("class") == "win"]
    assert len(winners) == 2


def test_a_hostile_name_stays_text() -> None:
    name = "<script>alert(1)</script>\"'"
    table = [replace(each, candidate=name) if each.candidate == GRAPH else each for each in TABLE]
    hostile = experiment(
        table, facts=[replace(GRAPH_FACTS, name=name, notices=("<img src=x>",))], target_results=()
    )
    page = Page(experiment_page(replace(hostile, name=name), name))
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert name in "".join(page.words)


def test_the_figure_puts_points_where_their_values_are() -> None:
    # Recall 0.9 … 1 by hand: from 0.9 (lowest 0.93 − 0.03) over 670 px from 70; queries a second
    # 100 … 1,000 in one decade over 350 px up from 370.
    points = [
        measured(GRAPH, HNSW, 40, 0.93, 1.0, qps={1: 1000.0}),
        measured(GRAPH, HNSW, 80, 0.95, 10.0, qps={1: 100.0}, certified=False),
    ]
    figure = ElementTree.fromstring(recall_figure(points))
    circles = [each for each in figure.iter("circle") if float(each.attrib["cy"]) < 400]
    places = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in circles]
    assert places == [(pytest.approx(70 + 670 * 0.3), 20), (pytest.approx(70 + 670 * 0.5), 370)]
    assert [each.attrib["fill"] == "none" for each in circles] == [False, True]
    title = circles[1].find("title")
    assert title is not None
    assert title.text is not None
    assert title.text.endswith("100 queries/s, p95 20\u00a0ms, not certified")
    (line,) = figure.iter("polyline")
    assert line.attrib["points"] == "271.0,20.0"  # the certified one alone


def test_a_figure_of_perfect_recall_or_of_nothing_is_drawn() -> None:
    only = [measured(GRAPH, HNSW, 40, 1.0, 1.0, spread=0.0)]
    ElementTree.fromstring(recall_figure(only))
    assert "Nothing was measured" in recall_figure([])


def test_an_experiment_without_results_is_a_page_too() -> None:
    empty = replace(experiment((), target_results=(), facts=()), data=None, environment={})
    assert "Nothing was measured" in experiment_page(empty, "Library")
    assert experiment_json(empty, "Library")["recommendation"] is None
    assert experiment_csv(empty).decode("utf-8-sig").count("\r\n") == 1


def test_a_spec_of_every_protocol_comes_back() -> None:
    for protocol in Protocol:
        spec = ExperimentSpec.for_protocol(
            protocol, experiment().spec.candidates, iterative_scans=(IterativeScan.OFF,)
        )
        assert ExperimentSpec.from_json(spec.to_json()) == spec
