"""The one table of a measurement's figures: a line in it is a figure everywhere."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import fields

import numpy as np
import pytest
from lab_tables import GRAPH, TABLE, experiment

from lib.cli.lab_tables import print_measurements
from lib.lab.experiment import Experiment
from lib.lab.measurement import FIGURES, Figure, FigureUnit, Measurement, RateFigure
from lib.lab.report import experiment_csv, experiment_json
from lib.lab.report_page import experiment_page

# A tenth of the median of 0.8 ms, as if it were a new metric.
NEW = Figure("queue_ms", "queue_ms", "Queue", FigureUnit.MILLISECONDS, narrow=True)


@pytest.fixture
def with_new_figure(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The hand-made experiment, with a metric more in the table."""
    table = (*FIGURES, NEW)
    for module in list(sys.modules.values()):
        if getattr(module, "FIGURES", None) is FIGURES:
            monkeypatch.setattr(module, "FIGURES", table)
    monkeypatch.setattr(
        Measurement, "queue_ms", property(lambda one: one.latency.p50_ms / 10), raising=False
    )
    return experiment()


def test_a_new_figure_is_in_csv_and_json(with_new_figure: Experiment) -> None:
    text = experiment_csv(with_new_figure).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [float(row["queue_ms"]) for row in rows if row["candidate"] == GRAPH] == pytest.approx(
        [0.04, 0.08, 0.25]
    )
    documents = experiment_json(with_new_figure, "Library")["measurements"]
    assert [document["queue_ms"] for document in documents[3:6]] == pytest.approx(
        [0.04, 0.08, 0.25]
    )


def test_a_new_figure_is_a_column_of_the_report_page(with_new_figure: Experiment) -> None:
    page = experiment_page(with_new_figure, "Library")
    assert "<th class='n'>queue</th>" in page
    assert "<td class='n'>0.08\u00a0ms</td>" in page


def test_a_new_figure_is_a_column_in_the_terminal(
    with_new_figure: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    print_measurements(with_new_figure)
    header, *lines = capsys.readouterr().out.splitlines()
    assert "queue" in header
    [at_40] = [line for line in lines if "ef_search 40" in line]
    assert "0.08 ms" in at_40


def test_every_figure_is_read_and_built_again() -> None:
    written = TABLE[4]
    others = ("candidate", "setting", "qps", "recalls", "latencies_ms")
    again = Measurement.from_figures(
        written.figures(), **{name: getattr(written, name) for name in others}
    )
    for field in fields(Measurement):
        if field.name not in ("recalls", "latencies_ms"):
            assert getattr(again, field.name) == getattr(written, field.name)
    np.testing.assert_array_equal(again.recalls, written.recalls)


def test_a_figure_that_was_not_measured_then_has_its_default() -> None:
    written = TABLE[4]
    values = {name: value for name, value in written.figures().items() if name != "server_ms"}
    others = ("candidate", "setting", "qps", "recalls", "latencies_ms")
    again = Measurement.from_figures(values, **{name: getattr(written, name) for name in others})
    assert again.latency.server_ms is None


def test_names_and_headings_tell_figures_apart() -> None:
    for one in ("name", "attribute", "heading", "keys", "column_name"):
        values = [getattr(figure, one) for figure in FIGURES]
        assert len(values) == len(set(values)), one


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("recall", 0.965, "96.5 %"),
        ("p95_ms", 1.62, "1.6 ms"),
        ("buffers", 1234, "1,234"),
        ("server_ms", None, "–"),
        ("certified", False, "no"),
        ("plan_index", "the_index", "the_index"),
    ],
)
def test_a_figure_reads_as_it_does_everywhere(name: str, value: object, text: str) -> None:
    [figure] = [figure for figure in FIGURES if figure.name == name]
    assert figure.format(value) == text  # type: ignore[arg-type]


def test_queries_a_second_have_a_figure_for_each_number_of_clients() -> None:
    [rate] = RateFigure.of(TABLE)
    assert (rate.name, rate.heading) == ("qps_1", "Queries/s, 1 client")
    assert rate.value(TABLE[4]) == 1250.0
    assert rate.text(TABLE[4]) == "1,250"
    assert RateFigure(4).text(TABLE[4]) == "–"
