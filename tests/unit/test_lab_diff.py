"""Two experiments side by side, on the table of lab_tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab_tables import GRAPH, GRAPH_FACTS, IVF_FACTS, TABLE, experiment, figures, measured

from lib.lab.diff import Difference, compare_experiments, environment_facts
from lib.lab.measurement import LatencyFigures, SearchParameter
from lib.vectors.index_methods import HNSW


def test_the_same_twice_has_no_differences() -> None:
    found = compare_experiments(experiment(), experiment(name="Second"))
    assert (found.environment, found.data, found.setup) == ((), (), ())
    assert found.comparable
    assert len(found.measurements) == len(TABLE)
    assert all(each.recall_change == 0 and each.p50_ratio == 1 for each in found.measurements)
    assert not any(each.recall_apart for each in found.measurements)


def test_what_differs_is_named_with_both_values() -> None:
    first = experiment()
    assert first.data is not None
    second = replace(
        experiment(name="Second", rounds=5),
        environment={**first.environment, "postgres": "18.5", "settings": {"jit": "on"}},
        data=replace(first.data, rows=200_000),
    )
    found = compare_experiments(first, second)
    assert found.environment == (
        Difference("PostgreSQL", "18.4", "18.5"),
        Difference("jit", "–", "on"),
    )
    assert found.data == (Difference("rows", "100,000", "200,000"),)
    assert found.setup == (Difference("rounds", "3", "5"),)
    assert not found.comparable


def test_the_load_of_the_machine_is_no_difference() -> None:
    first = replace(experiment(), environment={"load_average": 0.1})
    assert (
        compare_experiments(first, replace(first, environment={"load_average": 9})).environment
        == ()
    )


def test_recall_and_latency_are_compared_by_candidate_and_setting() -> None:
    slower = [
        replace(
            each,
            recall=figures(each.recall.mean.value - 0.03),
            latency=LatencyFigures(2 * each.latency.p50_ms, 3 * each.latency.p95_ms, 1.0),
        )
        if each.setting == SearchParameter(HNSW, 40)
        else each
        for each in TABLE
    ]
    found = compare_experiments(experiment(), experiment(slower, name="Second"))
    (changed,) = [each for each in found.measurements if each.recall_change]
    assert changed.label == f"{GRAPH}, ef_search 40"
    assert changed.recall_change == pytest.approx(-0.03)
    # 0.965 ± 0.01 and 0.935 ± 0.01 do not meet
    assert changed.recall_apart
    assert (changed.p50_ratio, changed.p95_ratio) == pytest.approx((2.0, 3.0))


def test_intervals_that_meet_are_not_apart() -> None:
    other = [replace(each, recall=figures(each.recall.mean.value - 0.015)) for each in TABLE]
    found = compare_experiments(experiment(), experiment(other, name="Second"))
    # ± 0.01 each; the exact scan's recall has no interval
    assert [each.recall_apart for each in found.measurements] == [False] * 6 + [True]


def test_candidates_are_matched_by_what_they_are_not_by_their_names() -> None:
    renamed = replace(GRAPH_FACTS, name=f"{GRAPH} (2)")
    table = [
        replace(each, candidate=renamed.name) if each.candidate == GRAPH else each for each in TABLE
    ]
    found = compare_experiments(
        experiment(), experiment(table, facts=(renamed,), target_results=(), name="Second")
    )
    assert {each.text for each in found.measurements} == {GRAPH_FACTS.text, ""}
    assert found.only_before == (IVF_FACTS.text,)
    assert found.only_after == ()
    assert found.recommendation.after == "–"


def test_a_setting_of_one_alone_is_left_out() -> None:
    more = [*TABLE, measured(GRAPH, HNSW, 500, 1.0, 9.0)]
    found = compare_experiments(experiment(), experiment(more, name="Second"))
    assert len(found.measurements) == len(TABLE)


def test_the_environment_is_named_for_people() -> None:
    found = environment_facts(
        {"settings": {"work_mem": "4MB", "jit": "on"}, "local_server": True, "postgres": "18.4"}
        | {"load_average": 1.234, "rows": 5}
    )
    assert list(found.items()) == [
        ("PostgreSQL", "18.4"),
        ("server on this machine", "yes"),
        ("load average at the start", "1.2"),
        ("jit", "on"),
        ("work_mem", "4MB"),
    ]
