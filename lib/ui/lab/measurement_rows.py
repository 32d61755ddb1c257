"""Measurements as people meet them in every view: their keys in the URL, their labels, their order,
and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.lab.measurement import EXACT_NAME, Measurement, RateFigure, SearchParameter
from lib.vectors.index_methods import IterativeScan

Row = Mapping[str, object]
"""Column → value; the names of columns carry the units."""


def key_of(measurement: Measurement) -> str:
    """Tells a measurement from the others of its experiment, also in a URL."""
    setting = measurement.setting
    if setting.value is None:
        return measurement.candidate
    scan = "" if setting.iterative_scan is IterativeScan.OFF else f"|{setting.iterative_scan.value}"
    return f"{measurement.candidate}|{setting.value}{scan}"


def setting_words(setting: SearchParameter) -> str:
    """Such as “ef_search 40, iterative scan in relaxed order”."""
    if setting.value is None:
        return "every row"
    scan = {
        IterativeScan.OFF: "",
        IterativeScan.RELAXED: ", iterative scan in relaxed order",
        IterativeScan.STRICT: ", iterative scan in strict order",
    }[setting.iterative_scan]
    return f"{setting.name} {setting.value:,}{scan}"


def label_of(measurement: Measurement) -> str:
    """Such as “HNSW m 16, ef_construction 64, ef_search 40”."""
    return f"{measurement.candidate}, {setting_words(measurement.setting)}"


def in_order(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """By candidate in the order of their first measurements, the exact scan last; then by iterative
    scan and rising parameter."""
    candidates = list(dict.fromkeys(one.candidate for one in measurements))
    candidates.sort(key=lambda name: name == EXACT_NAME)
    scans = list(dict.fromkeys(one.setting.iterative_scan for one in measurements))
    return tuple(
        sorted(
            measurements,
            key=lambda one: (
                candidates.index(one.candidate),
                scans.index(one.setting.iterative_scan),
                one.setting.value or 0,
            ),
        )
    )


def measurement_rows(measurements: Sequence[Measurement]) -> tuple[Row, ...]:
    """All of them in order, one row each: candidate, search parameter, figures."""
    rates = RateFigure.of(measurements)
    return tuple(
        {
            "candidate": measurement.candidate,
            "parameter": measurement.setting.name,
            "value": measurement.setting.value,
            "iterative_scan": measurement.setting.iterative_scan.value,
            **measurement.figures(),
            **{rate.name: rate.value(measurement) for rate in rates},
        }
        for measurement in in_order(measurements)
    )
