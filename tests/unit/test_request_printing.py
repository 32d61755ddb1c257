"""A search as JSON and as a command line, and back."""

from __future__ import annotations

import json
import shlex
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lib.cli.search import _request, search
from lib.errors import InvalidInput
from lib.search.bm25 import BM25
from lib.search.example import Example
from lib.search.export import command_line, request_from_json, request_to_json, sql_text
from lib.search.filters import Filter, FilterOp
from lib.search.request import Mode, SearchRequest
from lib.vectors.code import wrapped
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import IterativeScan
from lib.vectors.search import SearchResult
from lib.vectors.statements import TextMethod, TextQuery, nearest_statement
from lib.vectors.table import VectorTable
from lib.vectors.tuning import Scan, SearchSettings

EVERYTHING = SearchRequest(
    query="-- what's “this”; $HOME `x` \\ \n?",
    mode=Mode.HYBRID,
    limit=17,
    max_distance=0.75,
    category="a 'b' c",
    filters=(
        Filter("year", FilterOp.AT_LEAST, 1990),
        Filter("year", FilterOp.AT_MOST, 2000.5),
        Filter("genre", FilterOp.IN, ("drama, or so", "co'medy")),
        Filter("seen", FilterOp.EXISTS),
        Filter("lang", FilterOp.EQUALS, "de"),
    ),
    vector_weight=0.3,
    fusion=Fusion.RRF,
    text_query=TextQuery.WEB,
    text_method=TextMethod.BM25,
    bm25=BM25(0.9, 0.4),
    pool=333,
    settings=SearchSettings(
        probes=5,
        ef_search=77,
        iterative_scan=IterativeScan.RELAXED,
        max_scan_tuples=99,
        scan=Scan.AUTO,
    ),
    candidate_id=uuid.UUID(int=7),
)
REQUESTS = [
    SearchRequest("x"),
    EVERYTHING,
    SearchRequest("x", Mode.SIMILARITY, settings=SearchSettings(ef_search=5, scan=Scan.INDEX)),
    SearchRequest("x", Mode.SIMILARITY, settings=SearchSettings(scan=Scan.INDEX)),
    SearchRequest("x", Mode.HYBRID, settings=SearchSettings(scan=Scan.EXACT), max_distance=0.2),
    SearchRequest("x", Mode.TEXT, text_query=TextQuery.PLAIN, text_method=TextMethod.TS_RANK_CD),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_json_gives_the_request_back(request_: SearchRequest) -> None:
    through = json.loads(json.dumps(request_to_json(request_)))
    assert request_from_json(through) == request_


def test_the_names_in_json_are_stable() -> None:
    """What is stored today must be read tomorrow: a new name is added here, none is changed."""
    found = request_to_json(EVERYTHING)
    assert {name: found[name] for name in ("mode", "fusion", "text_query", "text_method")} == {
        "mode": "hybrid",
        "fusion": "rrf",
        "text_query": "web",
        "text_method": "bm25",
    }
    assert found["settings"] == {
        "probes": 5,
        "ef_search": 77,
        "iterative_scan": "relaxed_order",
        "max_scan_tuples": 99,
        "scan": "auto",
    }
    assert found["bm25"] == {"k1": 0.9, "b": 0.4}
    assert found["filters"][0] == {"field": "year", "op": "at_least", "value": 1990}
    assert found["filters"][2]["value"] == ["drama, or so", "co'medy"]
    assert found["candidate_id"] == str(uuid.UUID(int=7))
    assert found.keys() - {"mode", "fusion", "text_query", "text_method", "settings", "bm25"} == {
        *("query", "limit", "max_distance", "category", "filters", "vector_weight", "pool"),
        *("candidate_id", "leave_out"),
    }


def test_a_name_that_is_missing_takes_the_default() -> None:
    assert request_from_json({"query": "x"}) == SearchRequest("x")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "a JSON object"),
        ({}, "query"),
        ({"query": "x", "colour": "red"}, "no setting “colour”"),
        ({"query": "x", "with_plan": True}, "no setting “with_plan”"),
        ({"query": "x", "mode": "magic"}, "“mode”"),
        ({"query": "x", "limit": "many"}, "“limit”"),
        ({"query": "x", "settings": {"ef_search": 100_000}}, "ef_search is 100,000"),
        ({"query": "x", "filters": [{"field": "a", "op": "in", "value": "b"}]}, "no value for"),
    ],
)
def test_what_is_no_search(document: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        request_from_json(document)


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_command_line_asks_the_same(request_: SearchRequest) -> None:
    line = command_line(request_, "My 'films'")
    assert line is not None
    program, arguments = shlex.split(line)[:4], shlex.split(line)[4:]
    assert program == ["python", "-m", "lib", "search"]
    options = search.make_context("search", arguments).params
    for name in (
        "like",
        "unlike",
        "vector",
        "queries_path",
        "run_path",
        "compares",
        "explains",
        "content",
        "as_json",
    ):
        assert not options.pop(name)
    assert options.pop("name") == "My 'films'"
    assert replace(_request(**options), with_plan=False) == request_


def test_an_example_on_the_command_line() -> None:
    like, unlike = uuid.UUID(int=1), uuid.UUID(int=2)
    request = SearchRequest("", Mode.SIMILARITY, limit=3)
    line = command_line(request, "Films", Example((like,), (unlike,), vector=(0.5, -1.0)))
    assert line is not None
    options = search.make_context("search", shlex.split(line)[4:]).params
    assert options["query"] is None
    assert (options["like"], options["unlike"]) == ((str(like),), (str(unlike),))
    assert (options["vector"], options["limit"]) == ("[0.5, -1.0]", 3)
    assert command_line(request, "Films", Example(text="a text")) is None


def test_a_vector_is_folded_for_reading_alone() -> None:
    vector = np.linspace(0.1, 1, 256, dtype=np.float32)
    statement = nearest_statement(VectorTable("t", dimensions=256), vector)
    printed = sql_text(SearchResult((), statement, 10, settings={"hnsw.ef_search": "9"}))
    start = f"'[{vector[0]:.9g},{vector[1]:.9g},… 256 numbers]'"
    assert printed.abbreviated.count(start) == 2
    assert len(printed.abbreviated) < 500
    assert printed.abbreviated.startswith("BEGIN;\nSET LOCAL hnsw.ef_search = '9';\n")
    assert printed.full.count(f"{vector[255]:.9g}]'") == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1", "x = 1"),
        (
            f'f("{"a" * 50}", g("(,", {{"b": [1, 2]}}), "{"c" * 40}")',
            f'f(\n    "{"a" * 50}",\n    g("(,", {{"b": [1, 2]}}),\n    "{"c" * 40}",\n)',
        ),
        (f'f("{"a" * 90}")', f'f(\n    "{"a" * 90}"\n)'),
    ],
)
def test_long_code_is_put_on_several_lines(code: str, expected: str) -> None:
    assert wrapped(code) == expected
