"""Tables of experiments in the terminal."""

from __future__ import annotations

from typing import Any

import click

from lib.cli.output import note, one_line, print_table
from lib.formats import format_bytes, format_duration, format_ms, format_percent
from lib.lab.diff import ExperimentDiff
from lib.lab.experiment import Experiment
from lib.lab.measurement import FIGURES
from lib.lab.recommend import recommend, scoreboard


def print_experiment(experiment: Experiment) -> None:
    state = "" if experiment.state.value == "done" else f" ({experiment.state.value})"
    click.echo(click.style(one_line(experiment.name) + state, bold=True))
    if experiment.error:
        click.echo(f"{one_line(experiment.error)} {one_line(experiment.hint)}".strip())
    recommendation = recommend(experiment)
    if recommendation is not None:
        click.echo()
        click.echo(click.style(one_line(recommendation.headline), bold=True))
        for sentence in recommendation.rationale:
            click.echo(f"  {one_line(sentence)}")
    if experiment.measurements:
        click.echo()
        print_scoreboard(experiment)
        click.echo()
        print_measurements(experiment)
    if experiment.stale:
        note("The collection was written to since: the figures are of its state before.")


def print_scoreboard(experiment: Experiment) -> None:
    rows = []
    for row in scoreboard(experiment):
        found, facts = row.measurement, row.facts
        rows.append(
            (
                row.candidate,
                format_percent(row.level),
                "not reached" if found is None else found.setting.label,
                found and format_ms(found.latency.p50_ms),
                found and format_ms(found.latency.p95_ms),
                found and round(found.qps.get(1, 0)),
                facts and format_bytes(facts.index_bytes),
                facts and format_duration(facts.build_seconds),
                found and ("yes" if found.certified else "no"),
                "best" if row.wins else "",
            )
        )
    header = ("candidate", "recall", "setting", "p50", "p95", "queries/s", "size", "build")
    print_table((*header, "certified", ""), rows)


def print_measurements(experiment: Experiment) -> None:
    figures = [figure for figure in FIGURES if figure.narrow]
    print_table(
        ("candidate", "setting", *(figure.heading.lower() for figure in figures), "certified"),
        [
            (
                measurement.candidate,
                measurement.setting.label,
                *(figure.text(measurement) for figure in figures),
                "yes" if measurement.certified else f"no: {measurement.reason}",
            )
            for measurement in experiment.ordered
        ],
    )


def diff_json(diff: ExperimentDiff) -> dict[str, Any]:
    return {
        "before": diff.before.name,
        "after": diff.after.name,
        "comparable": diff.comparable,
        **{
            part: [
                {"name": each.name, "before": each.before, "after": each.after}
                for each in differences
            ]
            for part, differences in (
                ("environment", diff.environment),
                ("data", diff.data),
                ("asked", diff.setup),
            )
        },
        "measurements": [
            {
                "candidate": each.candidate,
                "spec": each.text or None,
                "setting": each.setting.label,
                "recall_change": each.recall_change,
                "recall_apart": each.recall_apart,
                "p50_ratio": each.p50_ratio,
                "p95_ratio": each.p95_ratio,
            }
            for each in diff.measurements
        ],
        "only_before": list(diff.only_before),
        "only_after": list(diff.only_after),
        "recommendation": {
            "before": diff.recommendation.before,
            "after": diff.recommendation.after,
        },
    }
