"""A new figure is stored and read like the others: a line in the table, and no migration."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass, fields

import numpy as np
import pytest
from candidates_fixture import Library, clustered

from lib.lab.experiment import Experiment
from lib.lab.measurement import FIGURES, Figure, FigureUnit, Measurement
from lib.lab.report import experiment_csv
from lib.lab.repository import get_experiment, make_experiment, save_measurement
from lib.lab.spec import ExperimentSpec
from lib.store.candidates import parse_candidate
from lib.store.database import Database
from lib.vectors.distance import Storage
from tests.unit.lab_tables import TABLE

NEW = Figure("queue_ms", "queue_ms", "Queue", FigureUnit.MILLISECONDS)


@dataclass(frozen=True, eq=False)
class MeasurementWithQueue(Measurement):
    """A measurement with a metric more."""

    queue_ms: float | None = None


def with_queue(measurement: Measurement, queue_ms: float) -> MeasurementWithQueue:
    values = {field.name: getattr(measurement, field.name) for field in fields(Measurement)}
    return MeasurementWithQueue(**values, queue_ms=queue_ms)


def add_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric in the table of figures, and measurements that have it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lib.lab."):
            if getattr(module, "FIGURES", None) is FIGURES:
                monkeypatch.setattr(module, "FIGURES", (*FIGURES, NEW))
            if getattr(module, "Measurement", None) is Measurement:
                monkeypatch.setattr(module, "Measurement", MeasurementWithQueue)


def test_a_new_figure_is_written_and_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Library(database, clustered(20)).collection
    spec = ExperimentSpec((parse_candidate("hnsw", 0, Storage.VECTOR),))
    experiment_id, _ = database.query(make_experiment, collection, spec)

    def read() -> Experiment:
        return database.query(get_experiment, collection, experiment_id)

    earlier, later = TABLE[3], TABLE[4]
    database.query(save_measurement, experiment_id, earlier)
    add_figure(monkeypatch)
    database.query(save_measurement, experiment_id, with_queue(later, 0.75))

    by_value = {measurement.setting.value: measurement for measurement in read().measurements}
    assert NEW.value(by_value[40]) == 0.75
    assert NEW.value(by_value[10]) is None  # written before the figure was in the table
    for figure in FIGURES:
        assert figure.value(by_value[40]) == figure.value(later), figure.name
        assert figure.value(by_value[10]) == figure.value(earlier), figure.name
    np.testing.assert_array_equal(by_value[40].recalls, later.recalls)
    rows = csv.DictReader(io.StringIO(experiment_csv(read()).decode("utf-8-sig"), newline=""))
    assert {row["value"]: row["queue_ms"] for row in rows} == {"10": "", "40": "0.75"}
