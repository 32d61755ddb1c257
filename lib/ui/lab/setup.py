"""What an experiment is to find out, as widgets in the address of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from lib.errors import InvalidInput
from lib.evaluation.query_sets import QuerySetSummary
from lib.formats import format_bytes, format_count, format_duration, format_percent
from lib.ingest.file_source import FileSource
from lib.lab.experiment import NAME_LENGTH
from lib.lab.measurement import ROUNDS, Protocol
from lib.lab.plan import Plan
from lib.lab.queries import QUERY_COUNT
from lib.lab.spec import RULES, ExperimentSpec, K, Priority, QueryKind, QuerySource, Target
from lib.limits import IntRange
from lib.search.filters import CATEGORY, FieldFacts, Filter, FilterOp
from lib.store.candidates import CandidateSpec
from lib.store.collections import CollectionSummary
from lib.ui.search.controls import WidgetScope, narrowing_controls
from lib.ui.shared.links import LinkParams
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import (
    by_value,
    read_choice,
    read_number,
    read_text,
    write_choice,
    write_number,
    write_text,
)
from lib.ui.shared.widgets import choice, number_slider
from lib.vectors.index_methods import IndexKind
from lib.vectors.tuning import OVERSAMPLING, IterativeScan

PREFIX = "lab."
MOST_SEED = 1_000_000
LEAST_RECALL = 0.5
MOST_P95_MS = 60_000.0
_NAME = "lab:name"

_SOURCES = {
    QueryKind.SAMPLE: "Rows of the collection",
    QueryKind.QUERY_SET: "A query set",
    QueryKind.FILE: "A file",
}
_PROTOCOLS = {
    Protocol.VECSCOPE: "Vecscope",
    Protocol.ANN_BENCHMARKS: "ann-benchmarks",
    Protocol.VECTORDBBENCH: "VectorDBBench",
}
_CLIENTS = {
    "1": (1,),
    "1,4": (1, 4),
    "1,4,8": (1, 4, 8),
    "1,2,4,8,16": (1, 2, 4, 8, 16),
}
_SCANS = {
    "all": tuple(IterativeScan),
    "off": (IterativeScan.OFF,),
    "relaxed": (IterativeScan.RELAXED,),
    "strict": (IterativeScan.STRICT,),
}
_SCAN_LABELS = {
    "all": "Measure each way",
    "off": "No",
    "relaxed": "Yes, roughly in order",
    "strict": "Yes, in strict order (HNSW)",
}


@dataclass(frozen=True)
class Draft:
    """What was chosen for an experiment, its candidates apart. source: a file of queries, opened
    anew at each reading. count: queries at most. matching: rows that the filters leave."""

    kind: QueryKind
    count: int
    k: int
    filters: tuple[Filter, ...]
    matching: int
    seed: int = 0
    query_set: str = ""
    source: FileSource | None = None
    protocol: Protocol = Protocol.VECSCOPE
    target: Target | None = None
    rounds: int = ROUNDS.default
    clients: tuple[int, ...] = (1,)
    probes: tuple[int, ...] | None = None
    ef_search: tuple[int, ...] | None = None
    iterative_scans: tuple[IterativeScan, ...] = (IterativeScan.OFF,)
    oversampling: int = OVERSAMPLING.default
    name: str | None = None

    def spec(self, candidates: Sequence[CandidateSpec]) -> ExperimentSpec:
        """Of one that :func:`can_ask`. Raises InvalidInput, LimitExceeded."""
        if self.filters and not self.matching:
            raise InvalidInput(
                "No row passes this filter, so there is nothing to find.",
                hint="Take a part of it away.",
            )
        names = {
            QueryKind.SAMPLE: "",
            QueryKind.QUERY_SET: self.query_set,
            QueryKind.FILE: self.source.name if self.source else "",
        }
        return ExperimentSpec(
            candidates=tuple(candidates),
            queries=QuerySource(self.kind, self.count, self.seed, names[self.kind]),
            k=self.k,
            filters=self.filters,
            protocol=self.protocol,
            target=self.target,
            rounds=self.rounds,
            clients=self.clients,
            probes=self.probes,
            ef_search=self.ef_search,
            iterative_scans=self.iterative_scans,
            oversampling=self.oversampling,
        )


# --- the settings column ------------------------------------------------------------------------


def setup_controls(
    summary: CollectionSummary,
    categories: Sequence[tuple[str, int]],
    fields: Sequence[FieldFacts],
    query_sets: Sequence[QuerySetSummary],
    matching: Callable[[tuple[Filter, ...]], int],
) -> Draft:
    """What, how, and more. matching: how many rows with an embedding pass the filters.

    Raises InvalidInput for a filter or a list of values that cannot be read.
    """
    st.markdown("**What**")
    protocol = _protocol()
    draft = _queries(summary, query_sets)
    draft = replace(draft, protocol=protocol, k=_k(protocol))
    st.caption(f"Neighbours by {summary.collection.distance.label}, as the collection compares.")
    filters = narrowing_controls(WidgetScope(PREFIX), categories, fields)
    left = matching(filters) if filters else summary.embedded
    if filters:
        _selectivity(left, summary.embedded)
    st.markdown("**How**")
    draft = replace(
        draft,
        filters=filters,
        matching=left,
        target=_target(),
        rounds=_rounds(),
        clients=_clients(protocol),
    )
    with st.expander("More", icon=":material/tune:"):
        return _more(draft)


def _protocol() -> Protocol:
    return choice(
        "Rules to measure by (protocol)",
        by_value(list(Protocol)),
        lambda each: _PROTOCOLS[each],
        key=f"{PREFIX}protocol",
        help_text="  \n".join(
            f"**{_PROTOCOLS[each]}**: {escape(rules.description)}." for each, rules in RULES.items()
        )
        + "  \nFigures can only be compared with figures of the same rules.",
        default=Protocol.VECSCOPE,
    )


def _queries(summary: CollectionSummary, query_sets: Sequence[QuerySetSummary]) -> Draft:
    kind = choice(
        "Where the questions come from (queries)",
        by_value(list(QueryKind)),
        lambda each: _SOURCES[each],
        key=f"{PREFIX}from",
        help_text="**Rows of the collection**: drawn at random; each is left out of its own "
        "answer.  \n**A query set**: the questions of your users, the best there is.  "
        "\n**A file**: of questions or of vectors.",
        default=QueryKind.SAMPLE,
    )
    query_set, source, most = "", None, QUERY_COUNT.high
    if kind is QueryKind.SAMPLE:
        most = summary.embedded
    elif kind is QueryKind.QUERY_SET:
        query_set, most = _query_set(query_sets)
    else:
        source = _file()
    usual = max(1, min(QUERY_COUNT.default, most))
    asked = _number(
        "How many",
        QUERY_COUNT,
        usual,
        key=f"{PREFIX}n",
        help_text="More make the figures surer and take longer. 500 are sure to about ±1 %.",
    )
    if asked > most:
        st.caption(f"There are {most:,}: all of them are asked.")
    return Draft(kind, asked, K.default, (), 0, query_set=query_set, source=source)


def _query_set(query_sets: Sequence[QuerySetSummary]) -> tuple[str, int]:
    """Its name and how many queries it has; the name is empty where there is none."""
    sizes = {each.query_set.name: each.queries for each in query_sets}
    if not sizes:
        return "", QUERY_COUNT.default  # the answer's side says how to come by one
    name = choice(
        "Query set",
        by_value(list(sizes)),
        lambda each: f"{each} ({sizes[each]:,})",
        key=f"{PREFIX}set",
        help_text="Texts are embedded by the collection's model. In brackets how many there are.",
        default=next(iter(sizes)),
    )
    return name, sizes[name]


def _file() -> FileSource | None:
    file = st.file_uploader(
        "File of queries",
        key="lab:file",
        help="**Vectors**: npy, fvecs, HDF5 in ann-benchmarks' form (its test vectors), or csv, "
        "jsonl and parquet with a column of vectors, of as many dimensions as the collection's.  "
        "\n**Texts**: each row of a table, each line of any other file, embedded by the "
        "collection's model.  \nThey are kept with the experiment.",
    )
    return None if file is None else FileSource.from_bytes(file.name, memoryview(file.getbuffer()))


def _k(protocol: Protocol) -> int:
    fixed = RULES[protocol].k
    if fixed is not None:
        st.number_input(
            "Neighbours wanted (k)",
            value=fixed,
            disabled=True,
            key=f"lab:k:{fixed}",
            help=f"{_PROTOCOLS[protocol]} is made with {fixed}.",
        )
        return fixed
    return _number(
        "Neighbours wanted (k)",
        K,
        K.default,
        key=f"{PREFIX}k",
        help_text="How many results your application shows. Recall@k is the share of the k true "
        "neighbours that the index finds.",
    )


def _selectivity(matching: int, rows: int) -> None:
    st.caption(
        f"The filter leaves {matching:,} of {format_count(rows, 'row')}, "
        f"{format_percent(matching / max(rows, 1))} (its selectivity)."
    )


def _target() -> Target | None:
    key, named = f"{PREFIX}aim", {"no": False, "yes": True}
    read_choice(key, named, default=True)
    wanted = st.toggle(
        "Look for a target",
        key=key,
        help="Finds the smallest setting of each candidate that does what you need, and names the "
        "best of them. Without it the settings are measured, and no more.",
    )
    write_choice(key, named, wanted, default=True)
    if not wanted:
        return None
    recall = number_slider(
        "Share of the true neighbours to find (target recall)",
        LEAST_RECALL,
        1.0,
        Target().recall,
        0.005,
        key=f"{PREFIX}recall",
        help_text="0.95: of 20 true neighbours 19 are found, on average. By the vecscope rules the "
        "lower end of the 95 % interval has to reach it, so that luck does not.",
        format="%.3f",
    )
    key = f"{PREFIX}p95"
    read_number(key, 0.0, MOST_P95_MS, 0.0)
    p95_ms = st.number_input(
        "Slowest answer that is all right, ms (p95)",
        0.0,
        MOST_P95_MS,
        step=1.0,
        format="%g",
        key=key,
        help="19 of 20 answers are quicker than this (p95). 0: any will do.",
    )
    write_number(key, p95_ms, 0.0)
    priority = choice(
        "What decides between those that do (priority)",
        by_value(list(Priority)),
        lambda each: each.label,
        key=f"{PREFIX}priority",
        help_text="Of the candidates that reach the target, which one is recommended.",
        default=Priority.LATENCY,
    )
    return Target(recall, p95_ms or None, priority)


def _rounds() -> int:
    return number_slider(
        "How often each setting is measured (rounds)",
        ROUNDS.low,
        ROUNDS.high,
        ROUNDS.default,
        1,
        key=f"{PREFIX}rounds",
        help_text="In a random order that is another in each round, so that what the machine does "
        "meanwhile is unfair to none. The median counts.",
    )


def _clients(protocol: Protocol) -> tuple[int, ...]:
    # A key for each protocol, since the default differs.
    key, usual = f"{PREFIX}clients", RULES[protocol].clients
    key = key if protocol is Protocol.VECSCOPE else f"{key}_{protocol.value}"
    return choice(
        "How many ask at once (clients)",
        _CLIENTS,
        lambda each: ", ".join(map(str, each)),
        key=key,
        help_text="For queries a second: each number is measured. Each client is a process of its "
        "own, and shares this machine with the server, if that is here.",
        default=usual,
    )


def _more(draft: Draft) -> Draft:
    scans = draft.iterative_scans
    if draft.filters:
        scans = _iterative_scans()
    else:
        st.caption(
            "With a filter there is also the choice whether the index goes on where it left too "
            "few rows (iterative scan)."
        )
    seed = 0
    if draft.kind is QueryKind.SAMPLE:
        seed = _number(
            "Another draw of the queries (seed)",
            IntRange(0, MOST_SEED, 0),
            0,
            key=f"{PREFIX}seed",
            help_text="The same number draws the same rows, as long as the collection is the same.",
        )
    probes = _values(IndexKind.IVFFLAT, "probes", "Lists to look into (probes)", "1, 3, 10, 30")
    ef_search = _values(IndexKind.HNSW, "ef", "Breadth of the walk (ef_search)", "20, 40, 80, 160")
    oversampling = _number(
        "Rows taken by their bits for each one wanted (oversampling)",
        OVERSAMPLING,
        OVERSAMPLING.default,
        key=f"{PREFIX}oversampling",
        help_text="Of candidates that hold bits: so many times k are found by their bits and "
        "ranked again by the full vector.",
    )
    name = st.text_input(
        "Name of the experiment",
        max_chars=NAME_LENGTH,
        key=_NAME,
        placeholder="What is compared, and when",
        help="To find it again. It can be renamed later.",
    )
    return replace(
        draft,
        iterative_scans=scans,
        seed=seed,
        probes=probes,
        ef_search=ef_search,
        oversampling=oversampling,
        name=name.strip() or None,
    )


def _iterative_scans() -> tuple[IterativeScan, ...]:
    found = choice(
        "Go on when the filter leaves too few (iterative scan)",
        by_value(list(_SCANS)),
        lambda each: _SCAN_LABELS[each],
        key=f"{PREFIX}iterative",
        help_text="An index finds first and filters then. Going on finds more and takes longer "
        "(pgvector 0.8 and later). IVFFlat goes on in relaxed order only.",
        default="all",
    )
    return _SCANS[found]


def _values(kind: IndexKind, name: str, label: str, example: str) -> tuple[int, ...] | None:
    key = f"{PREFIX}{name}"
    read_text(key)
    typed = st.text_input(
        f"{kind.label}: {label}",
        key=key,
        placeholder=f"The lab chooses; or such as {example}",
        help="The values to measure, with commas. Left empty, the lab takes about eight, from the "
        "quickest to the most exact.",
    )
    write_text(key, typed)
    return _numbers(typed, label)


def _numbers(typed: str, label: str) -> tuple[int, ...] | None:
    parts = [part for part in typed.replace(";", ",").replace(" ", ",").split(",") if part]
    if not parts:
        return None
    if not all(part.isdecimal() for part in parts):
        raise InvalidInput(
            f"“{typed}” is no list of whole numbers for {label}.", hint="Write 10, 20, 40."
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def _number(label: str, limits: IntRange, usual: int, *, key: str, help_text: str) -> int:
    read_number(key, limits.low, limits.high, usual)
    found = int(st.number_input(label, limits.low, limits.high, step=1, key=key, help=help_text))
    write_number(key, found, usual)
    return found


# --- the same again -----------------------------------------------------------------------------


def setup_address(spec: ExperimentSpec) -> LinkParams:
    """The settings of an experiment as they stand in the address; a file is not among them."""
    usual_target, target = Target(), spec.target
    category = spec.category
    own = None if category is None else Filter(CATEGORY, FilterOp.EQUALS, category)
    others = [each for each in spec.filters if each != own]
    found: dict[str, Any] = {
        "index": [str(candidate) for candidate in spec.candidates],
        "from": "" if spec.queries.kind is QueryKind.SAMPLE else spec.queries.kind.value,
        "set": spec.queries.name if spec.queries.kind is QueryKind.QUERY_SET else "",
        "n": str(spec.queries.count),
        "seed": str(spec.queries.seed) if spec.queries.seed else "",
        "k": "" if spec.rules.k is not None or spec.k == K.default else str(spec.k),
        "category": category or "",
        "f": [str(each) for each in others],
        "protocol": "" if spec.protocol is Protocol.VECSCOPE else spec.protocol.value,
        "rounds": "" if spec.rounds == ROUNDS.default else str(spec.rounds),
        "probes": ", ".join(map(str, spec.probes or ())),
        "ef": ", ".join(map(str, spec.ef_search or ())),
        "oversampling": "" if spec.oversampling == OVERSAMPLING.default else str(spec.oversampling),
    }
    suffix = "" if spec.protocol is Protocol.VECSCOPE else f"_{spec.protocol.value}"
    clients = ",".join(map(str, spec.clients))
    if clients in _CLIENTS and spec.clients != spec.rules.clients:
        found[f"clients{suffix}"] = clients
    for name, scans in _SCANS.items():
        if spec.filters and spec.iterative_scans == scans and name != "all":
            found["iterative"] = name
    if target is None:
        found["aim"] = "no"
    else:
        found["recall"] = "" if target.recall == usual_target.recall else f"{target.recall:g}"
        found["p95"] = f"{target.p95_ms:g}" if target.p95_ms else ""
        found["priority"] = "" if target.priority is Priority.LATENCY else target.priority.value
    return {f"{PREFIX}{name}": value for name, value in found.items() if value}


# --- what it takes, and the button --------------------------------------------------------------


def can_ask(draft: Draft) -> bool:
    """Whether there are queries; says how to come by some where there are none."""
    if draft.kind is QueryKind.QUERY_SET and not draft.query_set:
        st.info(
            "This collection has no query set yet. Import one with `python -m lib query-sets "
            "import`, drop a file of questions instead, or take rows of the collection.",
            icon=":material/quiz:",
        )
        return False
    if draft.kind is QueryKind.FILE and draft.source is None:
        st.info(
            "Drop a file of questions or of vectors on the left, or take rows of the collection.",
            icon=":material/upload_file:",
        )
        return False
    return True


def run_button(plan: Plan, spec: ExperimentSpec, seconds: float, *, busy: bool) -> bool:
    """True once it was pressed. seconds: all of it."""
    pressed = st.button(
        f"Run: about {format_duration(max(seconds, 1.0))}",
        key="lab:run",
        type="primary",
        icon=":material/play_arrow:",
        disabled=busy or not plan.possible,
        help="A job is running: wait for it, or cancel it."
        if busy
        else "Builds what is not built yet, finds the true neighbours, measures every setting and "
        "looks for the target. It can be cancelled and gone on with at any time; leaving this page "
        "changes nothing.",
    )
    build_seconds = plan.build_seconds
    parts = [
        f"{format_duration(build_seconds)} to build" if build_seconds else "nothing to build",
        f"{format_duration(max(seconds - build_seconds, 0.0))} to measure",
    ]
    if plan.disk_bytes:
        parts.insert(1, f"{format_bytes(plan.disk_bytes)} on disk")
    st.caption(f"{' · '.join(parts)} · by {escape(spec.queries.label)}")
    return pressed
