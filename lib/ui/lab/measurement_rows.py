"""Measurements as people meet them in every view: their keys in the URL, their labels, their order,
and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib.lab.measurement import EXACT_NAME, Measurement, RateFigure
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
