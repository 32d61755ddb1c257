"""An index method that exists in this test alone: everything that lists methods shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click
import pytest

from lib.cli.index_options import (
    IndexMethodChoice,
    build_options,
    pop_search_parameters,
    search_parameter_options,
)
from lib.colors import method_color
from lib.errors import IndexRefused, InvalidInput, LimitExceeded
from lib.lab.candidates import default_candidates
from lib.lab.collection_stats import CollectionStats
from lib.lab.estimates import estimate
from lib.lab.measurement import SearchParameter
from lib.lab.plan import query_ms
from lib.lab.spec import ExperimentSpec
from lib.lab.sweep import default_values, limits_of, parameters_of
from lib.limits import IntRange
from lib.search.export import request_from_json, request_to_json
from lib.search.request import SearchRequest
from lib.store.candidates import parse_candidate
from lib.ui.lab.candidates_table import Row, edited
from lib.ui.shared.links import search_params
from lib.vectors.catalog import access_methods_parameter
from lib.vectors.ddl import create_statement, index_name
from lib.vectors.distance import Distance, ElementType, Storage
from lib.vectors.index_costs import IndexCosts
from lib.vectors.index_methods import (
    HNSW,
    IVFFLAT,
    BuildOption,
    IndexMethod,
    IterativeScan,
    SearchParameterSpec,
    get_method,
    index_methods,
    parse_spec_text,
    registered,
)
from lib.vectors.migration import migration_text
from lib.vectors.table import VectorTable
from lib.vectors.tuning import Scan, SearchSettings

TABLE = VectorTable(name="docs", dimensions=100)
STATS = CollectionStats(
    rows=50_000,
    usable=50_000,
    dimensions=100,
    column=Storage.VECTOR,
    distance=Distance.COSINE,
    maintenance_work_mem_bytes=64 * 2**20,
    workers=0,
)


@pytest.fixture
def diskann() -> Iterator[IndexMethod]:
    """A graph on disk, as another extension might have it."""
    made = IndexMethod(
        name="diskann",
        label="DiskANN",
        help="A graph on disk.",
        build_options=(
            BuildOption(
                "num_neighbors", "Links per node (num_neighbors)", "", IntRange(10, 99, 50)
            ),
        ),
        search_parameter=SearchParameterSpec(
            name="search_list_size",
            setting="diskann.search_list_size",
            label="Search list (search_list_size)",
            help="",
            range=IntRange(1, 10_000, 100),
            link="sls",
            example="10, 100",
        ),
        costs=IndexCosts(
            index_bytes=lambda index: 7 * index.rows,
            memory_bytes=lambda index: 3 * index.rows,
            memory_user="The list",
            build_seconds=lambda index: (0.0, index.rows / 1000),
            compared_vectors=lambda _index, value: 2.0 * value,
        ),
        distances=(Distance.COSINE, Distance.L2),
        iterative_scans=(),
    )
    with registered(made):
        yield made
    assert made not in index_methods()


def test_it_is_listed_and_read(diskann: IndexMethod) -> None:
    assert index_methods() == (IVFFLAT, HNSW, diskann)
    assert get_method("diskann") is diskann
    spec = parse_spec_text("diskann:num_neighbors=20", 1000)
    assert (spec.method, spec["num_neighbors"], str(spec)) == (
        diskann,
        20,
        "diskann:num_neighbors=20",
    )
    assert str(parse_spec_text("diskann", 1000)) == "diskann:num_neighbors=50"
    assert spec.label == "DiskANN num_neighbors 20"
    candidate = parse_candidate("diskann@halfvec", 1000, Storage.VECTOR)
    assert str(candidate) == "diskann:num_neighbors=50@halfvec"
    with pytest.raises(LimitExceeded, match="num_neighbors is 9"):
        parse_spec_text("diskann:num_neighbors=9", 1000)
    with pytest.raises(InvalidInput, match="no option lists"):
        parse_spec_text("diskann:lists=9", 1000)
    with pytest.raises(InvalidInput) as caught, registered(replace(diskann)):
        pass
    assert "already" in caught.value.message


def test_without_it_there_are_two() -> None:
    assert index_methods() == (IVFFLAT, HNSW)
    with pytest.raises(InvalidInput) as caught:
        get_method("diskann")
    assert caught.value.hint == "Take hnsw or ivfflat."


def test_the_command_line_takes_it(diskann: IndexMethod) -> None:
    @click.command()
    @click.option("--kind", type=IndexMethodChoice())
    @build_options
    @search_parameter_options(int, lambda method: method.label)
    def command(**options: object) -> None:
        del options

    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--num-neighbors", "--search-list-size", "--lists", "--ef-search"} <= flags
    context = command.make_context("x", ["--kind", "diskann", "--search-list-size", "7"])
    assert context.params["kind"] is diskann
    assert pop_search_parameters(context.params) == {"search_list_size": 7}
    assert "diskann" in IndexMethodChoice().get_metavar(command.params[0], context)


def test_a_search_sets_its_parameter(diskann: IndexMethod) -> None:
    settings = SearchSettings(search_list_size=30, iterative_scan=IterativeScan.STRICT)
    assert settings.server_settings() == {
        "diskann.search_list_size": "30",
        "hnsw.iterative_scan": "strict_order",
        "ivfflat.iterative_scan": "relaxed_order",
    }
    request = SearchRequest("q", settings=settings)
    assert request_to_json(request)["settings"]["search_list_size"] == 30
    assert request_from_json(request_to_json(request)) == request
    assert search_params("films", request)["sls"] == "30"
    with pytest.raises(LimitExceeded):
        SearchSettings(search_list_size=10_001)
    parameter = SearchParameter(diskann, 30)
    assert parameter.name == "search_list_size"
    assert parameter.search_settings(scan=Scan.INDEX) == SearchSettings(
        search_list_size=30, iterative_scan=IterativeScan.OFF, scan=Scan.INDEX
    )
    with pytest.raises(InvalidInput, match="no iterative scan"):
        SearchParameter(diskann, 30, IterativeScan.RELAXED)


def test_a_method_without_an_iterative_scan_is_sent_no_setting_for_one(
    diskann: IndexMethod,
) -> None:
    once = replace(diskann, name="once", iterative_scans=(IterativeScan.OFF,))
    with registered(once):
        settings = SearchSettings(iterative_scan=IterativeScan.RELAXED).server_settings()
    assert "once.iterative_scan" not in settings
    assert settings["hnsw.iterative_scan"] == "relaxed_order"


def test_the_lab_measures_it(diskann: IndexMethod) -> None:
    defaults = default_candidates(1000, 100, Storage.VECTOR)
    assert [candidate.index.method for candidate in defaults] == [IVFFLAT, HNSW, diskann]
    candidate = defaults[-1]
    values = default_values(candidate.index, 10, 1000)
    assert (values[0], values[-1], len(values)) == (1, 10_000, 8)
    assert limits_of(candidate.index, 10) == IntRange(1, 10_000, 100)
    spec = ExperimentSpec((candidate,), values={"search_list_size": (5, 6)})
    assert parameters_of(spec, candidate.index, rows=1000) == (
        SearchParameter(diskann, 5),
        SearchParameter(diskann, 6),
    )
    assert spec.to_json()["search_list_size"] == [5, 6]
    assert ExperimentSpec.from_json(spec.to_json()) == spec

    expected = estimate(STATS, candidate)
    assert (expected.index_bytes, expected.memory_bytes) == (350_000, 150_000)
    assert expected.build_seconds == pytest.approx(50.1)  # 50,000 rows, and 0.1 s to begin
    few, many = (query_ms(STATS, candidate, SearchParameter(diskann, n), spec) for n in (10, 1000))
    assert few < many


def test_the_table_of_candidates_has_its_option(diskann: IndexMethod) -> None:
    row = Row.from_text("diskann:num_neighbors=20@vector")
    assert row == Row(diskann, ElementType.VECTOR, {"num_neighbors": 20})
    assert row.label == "DiskANN num_neighbors 20"
    changes = {"edited_rows": {0: {"Index": "DiskANN"}}, "added_rows": [], "deleted_rows": []}
    graph = Row(HNSW, ElementType.VECTOR, {"m": 16, "ef_construction": 64})
    assert edited([graph], changes, ElementType.VECTOR, 1000) == [
        Row(diskann, ElementType.VECTOR, {"num_neighbors": 50})
    ]


def test_it_has_a_colour_of_its_own(diskann: IndexMethod) -> None:
    colors = [method_color(method) for method in (None, *index_methods())]
    assert len(set(colors)) == 4
    assert method_color(diskann) == colors[-1]


def test_statements_name_it(diskann: IndexMethod) -> None:
    spec = diskann.spec(num_neighbors=20)
    assert index_name(TABLE, spec) == "docs_embedding_diskann_cosine_20"
    statement = create_statement(TABLE, spec)
    assert "USING diskann (embedding vector_cosine_ops)" in statement
    assert "num_neighbors = 20" in statement
    source = migration_text(TABLE, spec)
    assert "postgresql_using='diskann'" in source
    assert "postgresql_with={'num_neighbors': 20}" in source
    parameter = access_methods_parameter()
    assert parameter.effective_value == ["ivfflat", "hnsw", "diskann"]
    with pytest.raises(IndexRefused, match="no operator class for the negative inner product"):
        create_statement(replace(TABLE, distance=Distance.INNER_PRODUCT), spec)
