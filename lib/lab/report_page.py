"""An experiment as one HTML page that needs nothing else: to send, to print, to open anywhere.

The figure is SVG made here. Plotly's would bring 4 MB of script into every page, which mail
programs and wikis take out (docs/decisions/017-a-report-is-a-page-without-scripts.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from lib.colors import method_color
from lib.formats import format_bytes, format_duration, format_ms, format_percent, format_rate
from lib.lab.diff import environment_facts
from lib.lab.experiment import Experiment
from lib.lab.measurement import FIGURES, Interval, Measurement
from lib.lab.recommend import pareto, recommend, scoreboard
from lib.lab.spec import RULES

# Okabe–Ito, as on all pages (lib/ui/shared/charts.py).
_SHAPES = ("circle", "square", "triangle", "diamond")
_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 20, 50

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --quiet: #666; --line: #ddd; --paper: #fff;
  --win: #e5f3ec; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --quiet: #aaa; --line: #444;
  --paper: #16181c; --win: #173527; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.win { background: var(--win); }
.quiet { color: var(--quiet); } .lead { font-size: 1.15rem; font-weight: 600; }
.wide { overflow-x: auto; } svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12px; } svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke: var(--quiet); stroke-dasharray: 4 3; }
@media print { body { max-width: none; margin: 0; } }
"""


def experiment_page(experiment: Experiment, collection: str) -> str:
    """The whole page: recommendation, scoreboard, recall against queries a second, all
    measurements, and what it was measured on. No script, no address outside of it."""
    title = f"{experiment.name} – {collection}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p class='quiet'>{_text(_subtitle(experiment))}</p>",
        *_recommendation(experiment),
        "<h2>What each candidate takes at 90, 95 and 99 % recall</h2>",
        _protocol(experiment),
        _scoreboard(experiment),
        "<h2>Recall against queries a second, one client</h2>",
        recall_figure(experiment.ordered),
        "<h2>All measurements</h2>",
        _measurements(experiment),
        "<h2>Candidates</h2>",
        _candidates(experiment),
        "<h2>What it was measured on</h2>",
        _basis(experiment),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _subtitle(experiment: Experiment) -> str:
    data = experiment.data
    said = [f"Run on {experiment.created_at:%d %B %Y, %H:%M %Z}".strip()]
    if data is not None:
        said.append(f"{data.rows:,} rows of {data.dimensions:,} dimensions, {data.distance}")
        said.append(f"{data.queries:,} queries, k = {experiment.spec.k}")
    if experiment.state.value != "done":
        said.append(experiment.state.value)
    if experiment.changed:
        said.append(experiment.changed)
    return " · ".join(said)


def _recommendation(experiment: Experiment) -> list[str]:
    recommendation = recommend(experiment)
    if recommendation is None:
        return []
    items = "".join(f"<li>{_text(each)}</li>" for each in recommendation.rationale)
    return [f"<p class='lead'>{_text(recommendation.headline)}</p>", f"<ul>{items}</ul>"]


def _protocol(experiment: Experiment) -> str:
    protocol = experiment.spec.protocol
    said = f"Protocol {protocol.value}: {RULES[protocol].description}. Only certified ones can win."
    return f"<p class='quiet'>{_text(said)}</p>"


def _scoreboard(experiment: Experiment) -> str:
    rows = []
    for row in scoreboard(experiment):
        found = row.measurement
        cells = [
            row.candidate,
            format_percent(row.level),
            "not reached" if found is None else found.setting.label,
            *_figures(found),
            "–" if row.facts is None else format_bytes(row.facts.index_bytes),
            "–" if row.facts is None else format_duration(row.facts.build_seconds),
            "–" if found is None else "yes" if found.certified else "no",
        ]
        rows.append((cells, "win" if row.wins else "plain"))
    header = ["candidate", "recall", "setting", "p50", "p95", "queries/s", "size", "build"]
    return _table([*header, "certified"], rows, numeric=range(3, 8))


def _figures(measurement: Measurement | None) -> list[str]:
    if measurement is None:
        return ["–", "–", "–"]
    latency = measurement.latency
    return [
        format_ms(latency.p50_ms),
        format_ms(latency.p95_ms),
        format_rate(measurement.qps.get(1, 0)),
    ]


def _measurements(experiment: Experiment) -> str:
    figures = [figure for figure in FIGURES if figure.narrow]
    rows = [
        (
            [
                measurement.candidate,
                measurement.setting.label,
                _interval(measurement.recall.mean),
                *(figure.text(measurement) for figure in figures),
                format_rate(measurement.qps.get(1, 0)),
                "yes" if measurement.certified else f"no: {measurement.reason}",
            ],
            "plain",
        )
        for measurement in experiment.ordered
    ]
    header = [
        *("candidate", "setting", "95 % interval"),
        *(figure.heading.lower() for figure in figures),
        *("queries/s", "certified"),
    ]
    return _table(header, rows, numeric=range(2, len(header) - 1))


def _interval(recall: Interval) -> str:
    return f"{format_percent(recall.low)} – {format_percent(recall.high)}"


def _candidates(experiment: Experiment) -> str:
    rows = [
        (
            [
                each.name,
                each.text,
                f"{each.rows:,}",
                format_duration(each.build_seconds),
                format_bytes(each.index_bytes),
                format_bytes(each.table_bytes),
                each.maintenance_work_mem or "–",
                "; ".join(each.notices) or "–",
            ],
            "plain",
        )
        for each in experiment.facts
    ]
    header = ["candidate", "spec", "rows", "build", "index", "vectors", "maintenance_work_mem"]
    return _table([*header, "the server said"], rows, numeric=range(2, 6))


def _basis(experiment: Experiment) -> str:
    facts: dict[str, str] = {}
    if experiment.data is not None:
        data = experiment.data
        facts |= {
            "queries": data.queries_described,
            "filter": " and ".join(map(str, experiment.spec.filters)) or "none",
            "share that the filter leaves": format_percent(data.selectivity),
            "queries with ties at k": f"{data.tied:,}",
        }
        facts |= {"note": "; ".join(data.notes)} if data.notes else {}
    facts |= environment_facts(experiment.environment)
    rows = [([name, value], "plain") for name, value in facts.items()]
    return _table(["", ""], rows)


def _table(
    header: Sequence[str], rows: Iterable[tuple[Sequence[str], str]], numeric: Iterable[int] = ()
) -> str:
    right = set(numeric)

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag} class='{'n' if place in right else 't'}'>{_text(text)}</{tag}>"
            for place, text in enumerate(texts)
        )

    head = f"<thead><tr>{cells('th', header)}</tr></thead>" if any(header) else ""
    body = "".join(f"<tr class='{mark}'>{cells('td', texts)}</tr>" for texts, mark in rows)
    return f"<div class='wide'><table>{head}<tbody>{body}</tbody></table></div>"


def _text(text: str) -> str:
    """A number stays beside its unit."""
    return escape(text.replace(" %", "\u00a0%").replace(" ms", "\u00a0ms"), quote=True)


# --- the figure ---------------------------------------------------------------------------------


def recall_figure(measurements: Sequence[Measurement]) -> str:
    """Recall (from a tenth below the lowest) against queries a second (logarithmic) as SVG: a
    shape for each candidate, hollow where not certified, and the Pareto line. Hovering shows what
    it is."""
    shown = [each for each in measurements if each.qps.get(1, 0) > 0]
    if not shown:
        return "<p class='quiet'>Nothing was measured yet.</p>"
    lowest = min(each.recall.mean.value for each in shown)
    left = max(0.0, math.floor(10 * lowest - 1e-9) / 10) if lowest < 1 else 0.9
    rates = [each.qps[1] for each in shown]
    lowest_decade = math.floor(math.log10(min(rates)))
    bottom = 10.0**lowest_decade
    top = 10.0 ** max(math.ceil(math.log10(max(rates))), lowest_decade + 1)

    def x(recall: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (recall - left) / (1 - left)

    def y(rate: float) -> float:
        share = math.log(rate / bottom) / math.log(top / bottom)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    names = list(dict.fromkeys(each.candidate for each in shown))
    line = " ".join(f"{x(e.recall.mean.value):.1f},{y(e.qps[1]):.1f}" for e in pareto(shown))
    parts = [*_grid(left, bottom, top, x, y), f'<polyline class="line" points="{line}"/>']
    for each in shown:
        shape = _SHAPES[names.index(each.candidate) % len(_SHAPES)]
        tip = (
            f"{each.label}: recall "
            f"{format_percent(each.recall.mean.value)}, {each.qps[1]:,.0f} queries/s, p95 "
            f"{format_ms(each.latency.p95_ms)}" + ("" if each.certified else ", not certified")
        )
        parts.append(_mark(shape, x(each.recall.mean.value), y(each.qps[1]), each, tip))
    legend = "".join(_legend(names, shown))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 18 * len(names) + 10}" role="img" '
        f'aria-label="Recall against queries a second of {len(shown)} settings">'
        f"{''.join(parts)}{legend}</svg>"
    )


def _grid(
    left: float,
    bottom: float,
    top: float,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Iterable[str]:
    step = 0.1 if 1 - left > 0.35 else 0.05 if 1 - left > 0.15 else 0.02
    for number in range(round((1 - left) / step) + 1):
        recall = left + number * step
        yield (
            f'<line class="grid" x1="{x(recall):.1f}" x2="{x(recall):.1f}" y1="{_TOP}" '
            f'y2="{_HEIGHT - _BOTTOM}"/><text x="{x(recall):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
            f'text-anchor="middle">{100 * recall:.0f} %</text>'
        )
    rate = bottom
    while rate <= top * 1.001:
        yield (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(rate):.1f}" '
            f'y2="{y(rate):.1f}"/><text x="{_LEFT - 8}" y="{y(rate) + 4:.1f}" '
            f'text-anchor="end">{rate:,.0f}</text>'
        )
        rate *= 10
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">'
        "recall</text>"
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        "queries a second</text>"
    )


def _legend(names: Sequence[str], shown: Sequence[Measurement]) -> Iterable[str]:
    for number, name in enumerate(names):
        top = _HEIGHT + 18 * number + 4
        first = next(each for each in shown if each.candidate == name)
        shape = _SHAPES[number % len(_SHAPES)]
        yield _mark(shape, _LEFT, top, first, name, hollow=False)
        yield f'<text x="{_LEFT + 12}" y="{top + 4}">{_text(name)}</text>'


def _mark(
    shape: str,
    x: float,
    y: float,
    measurement: Measurement,
    tip: str,
    *,
    hollow: bool | None = None,
) -> str:
    colour = method_color(measurement.setting.method)
    hollow = not measurement.certified if hollow is None else hollow
    style = f'fill="{"none" if hollow else colour}" stroke="{colour}" stroke-width="1.5"'
    title = f"<title>{_text(tip)}</title>"
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {style}>{title}</circle>'
    r = 5.5
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "triangle": ((0, -r), (r, r), (-r, r)),
        "diamond": ((0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {style}>{title}</polygon>'
