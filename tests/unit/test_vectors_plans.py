"""Plans as PostgreSQL 18 gave them, without their costs; and reasons for too few rows."""

from __future__ import annotations

from typing import Any

import pytest

from lib.vectors.index_methods import IterativeScan
from lib.vectors.plans import parse_plan
from lib.vectors.search import shortfall_reason
from lib.vectors.tuning import SearchSettings

SEQ_SCAN = {"Node Type": "Seq Scan", "Relation Name": "docs", "Alias": "docs"}
HNSW_SCAN = {
    "Node Type": "Index Scan",
    "Scan Direction": "Forward",
    "Index Name": "docs_hnsw",
    "Relation Name": "docs",
    "Alias": "docs",
    "Order By": "(embedding <=> '[1,2,3]'::vector)",
}


def document(plan: dict[str, Any], **rest: Any) -> list[dict[str, Any]]:
    return [{"Plan": plan, **rest}]


def test_a_vector_index_answers() -> None:
    """Filtered, EXPLAIN (ANALYZE, BUFFERS)."""
    scan = {
        **HNSW_SCAN,
        "Actual Rows": 5.0,
        "Actual Loops": 1,
        "Filter": "(category = 'odd'::text)",
        "Rows Removed by Filter": 1,
        "Index Searches": 1,
        "Shared Hit Blocks": 207,
        "Shared Read Blocks": 2,
    }
    plan = parse_plan(
        document(
            {
                "Node Type": "Limit",
                "Actual Rows": 5.0,
                "Actual Loops": 1,
                "Shared Hit Blocks": 207,
                "Shared Read Blocks": 2,
                "Plans": [scan],
            },
            **{
                "Planning": {"Shared Hit Blocks": 76, "Shared Read Blocks": 7},
                "Planning Time": 1.231,
                "Triggers": [],
                "Execution Time": 0.284,
            },
        )
    )
    assert plan.vector_index == "docs_hnsw"
    assert plan.indexes == ("docs_hnsw",)
    assert plan.sequential == ()
    assert plan.analyzed
    assert (plan.rows, plan.rows_removed_by_filter) == (5, 1)
    assert (plan.buffers_hit, plan.buffers_read) == (207, 2)  # the planning's are not counted
    assert (plan.planning_ms, plan.execution_ms) == (1.231, 0.284)
    assert plan.summary == "Answered by the vector index docs_hnsw."
    assert plan.certify("docs_hnsw").certified
    refused = plan.certify("docs_ivfflat")
    assert not refused.certified
    assert refused.reason == "The plan used docs_hnsw, not docs_ivfflat."


def test_a_sort_of_all_rows_is_exact() -> None:
    plan = parse_plan(
        document(
            {
                "Node Type": "Limit",
                "Plans": [
                    {
                        "Node Type": "Sort",
                        "Sort Key": ["((embedding <-> '[1,2,3]'::vector))"],
                        "Plans": [SEQ_SCAN],
                    }
                ],
            }
        )
    )
    assert plan.vector_index is None
    assert plan.sequential == ("docs",)
    assert not plan.analyzed
    counted = (plan.rows, plan.rows_removed_by_filter, plan.buffers_hit, plan.buffers_read)
    assert counted == (None, None, None, None)
    assert plan.summary == "Every row of docs was compared: exact."
    assert plan.certify("docs_hnsw").reason == "The plan used no vector index, not docs_hnsw."


def test_rows_removed_are_those_of_all_loops() -> None:
    """A node's figure is the mean of its loops, as in a scan shared by three processes."""
    scan = {**SEQ_SCAN, "Actual Rows": 2.67, "Actual Loops": 3, "Rows Removed by Filter": 664}
    plan = parse_plan(
        document(
            {"Node Type": "Gather", "Actual Rows": 8.0, "Actual Loops": 1, "Plans": [scan]},
            **{"Execution Time": 1.0},
        )
    )
    assert (plan.rows, plan.rows_removed_by_filter) == (8, 1992)


def test_a_bitmap_scan_is_an_index_but_no_vector_index() -> None:
    plan = parse_plan(
        document(
            {
                "Node Type": "Bitmap Heap Scan",
                "Relation Name": "docs",
                "Recheck Cond": "(words @@ '''word7'''::tsquery)",
                "Plans": [
                    {
                        "Node Type": "Bitmap Index Scan",
                        "Index Name": "docs_words",
                        "Index Cond": "(words @@ '''word7'''::tsquery)",
                    }
                ],
            }
        )
    )
    assert plan.vector_index is None
    assert plan.indexes == ("docs_words",)
    assert plan.sequential == ()
    assert plan.summary == "Answered by docs_words, with no vector index: exact."


def test_indexes_inside_ctes_and_init_plans_are_found() -> None:
    cte = document(
        {
            "Node Type": "CTE Scan",
            "CTE Name": "nearest",
            "Filter": "(distance < '0.1'::double precision)",
            "Plans": [{"Node Type": "Limit", "Subplan Name": "CTE nearest", "Plans": [HNSW_SCAN]}],
        }
    )
    assert parse_plan(cte).vector_index == "docs_hnsw"

    init = document(
        {
            "Node Type": "Limit",
            "Plans": [
                {"Node Type": "Aggregate", "Subplan Name": "InitPlan 1", "Plans": [SEQ_SCAN]},
                {
                    "Node Type": "Index Scan",
                    "Subplan Name": "InitPlan 2",
                    "Index Name": "docs_pkey",
                    "Relation Name": "docs",
                    "Index Cond": "(id = 7)",
                },
                {**HNSW_SCAN, "Order By": "(embedding <=> (InitPlan 2).col1)"},
            ],
        }
    )
    plan = parse_plan(init)
    assert plan.vector_index == "docs_hnsw"  # not the primary key, which gives no order
    assert plan.indexes == ("docs_pkey", "docs_hnsw")
    assert plan.sequential == ("docs",)


def test_a_plan_that_reads_nothing() -> None:
    plan = parse_plan({"Plan": {"Node Type": "Result"}})
    assert plan.summary == "Answered without reading a table."


# --- too few rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"found": 3, "available": 3},
            "Only 3 of 10: there are no more documents with a usable embedding.",
        ),
        (
            {"found": 0, "available": 0, "filtered": True},
            "Only 0 of 10: there are no more documents that pass the filter.",
        ),
        (
            {"found": 4, "available": 10},
            "though there are more with a usable embedding: the index docs_hnsw looked at too few",
        ),
        (
            {"found": 4, "available": 10, "filtered": True},
            "and iterative scan was off. More probes or a higher ef_search, iterative scan, or",
        ),
        (
            {
                "found": 4,
                "available": 10,
                "filtered": True,
                "settings": SearchSettings(iterative_scan=IterativeScan.STRICT),
            },
            "was on, but reached its limit of rows. More probes or a higher ef_search, a higher",
        ),
    ],
)
def test_the_reason_for_too_few_rows(options: dict[str, Any], expected: str) -> None:
    arguments = {
        "asked": 10,
        "vector_index": "docs_hnsw",
        "settings": SearchSettings(),
        "filtered": False,
        **options,
    }
    reason = shortfall_reason(**arguments)
    assert reason.startswith(f"Only {options['found']} of 10")
    assert expected in reason
