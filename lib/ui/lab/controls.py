"""The settings of a new experiment as widgets in the URL, and the settings of an experiment as URL
parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from lib.errors import InvalidInput
from lib.evaluation.query_sets import QuerySetSummary
from lib.formats import format_count, format_percent
from lib.ingest.file_source import FileSource
from lib.lab.experiment import NAME_LENGTH
from lib.lab.measurement import ROUNDS, Protocol
from lib.lab.queries import QUERY_COUNT
from lib.lab.spec import RULES, ExperimentSpec, K, Priority, QueryKind, QuerySource, Target
from lib.search.filters import CATEGORY, Filter, FilterOp
from lib.store.candidates import CandidateSpec
from lib.ui.lab.model import CollectionLab
from lib.ui.search.controls import WidgetScope, narrowing_controls
from lib.ui.shared.links import LinkParams
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import by_value, read_text, write_text
from lib.ui.shared.widgets import choice, number_field, number_slider, switch
from lib.vectors.index_methods import IndexMethod, IterativeScan, index_methods
from lib.vectors.tuning import OVERSAMPLING

PREFIX = "lab."
MAX_SEED = 1_000_000
MIN_RECALL = 0.5
MAX_P95_MS = 60_000.0
_NAME = "lab:name"

_QUERY_KINDS = {
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
    "off": "Off",
    "relaxed": "Relaxed order",
    "strict": "Strict order",
}


@dataclass(frozen=True)
class QueryDraft:
    """The chosen queries, which may still be missing."""

    kind: QueryKind
    count: int
    """Queries at most."""
    query_set: str = ""
    """Its name; empty where the collection has none."""
    file: FileSource | None = None
    """Opened anew at each reading."""

    def source(self, seed: int) -> QuerySource:
        names = {
            QueryKind.SAMPLE: "",
            QueryKind.QUERY_SET: self.query_set,
            QueryKind.FILE: self.file.name if self.file else "",
        }
        return QuerySource(self.kind, self.count, seed, names[self.kind])


@dataclass(frozen=True)
class AdvancedSettings:
    """What stands under “More”."""

    iterative_scans: tuple[IterativeScan, ...]
    seed: int
    values: Mapping[str, tuple[int, ...]]
    """Search parameter → the values to measure; the lab chooses those of one that is missing."""
    oversampling: int
    name: str | None
    """Of the experiment; None: the lab names it."""


@dataclass(frozen=True)
class Draft:
    """The chosen settings of an experiment, its candidates apart."""

    queries: QueryDraft
    k: int
    filters: tuple[Filter, ...]
    matching: int
    """Rows with an embedding that pass the filters."""
    protocol: Protocol
    target: Target | None
    rounds: int
    clients: tuple[int, ...]
    advanced: AdvancedSettings

    def spec(self, candidates: Sequence[CandidateSpec]) -> ExperimentSpec:
        """Of a draft whose queries are there. Raises InvalidInput, LimitExceeded."""
        if self.filters and not self.matching:
            raise InvalidInput(
                "No row passes this filter, so there is nothing to find.",
                hint="Take a part of it away.",
            )
        return ExperimentSpec(
            candidates=tuple(candidates),
            queries=self.queries.source(self.advanced.seed),
            k=self.k,
            filters=self.filters,
            protocol=self.protocol,
            target=self.target,
            rounds=self.rounds,
            clients=self.clients,
            values=self.advanced.values,
            iterative_scans=self.advanced.iterative_scans,
            oversampling=self.advanced.oversampling,
        )


# --- the settings column ------------------------------------------------------------------------


def experiment_controls(lab: CollectionLab) -> Draft:
    """What is measured, how, and more.

    Raises InvalidInput for a filter or a list of values that cannot be read.
    """
    st.markdown("**What**")
    protocol = _protocol()
    queries = _queries(lab)
    k = _k(protocol)
    st.caption(f"Neighbours by {lab.collection.distance.label}, as the collection compares.")
    filters = narrowing_controls(WidgetScope(PREFIX), lab.categories(), lab.fields())
    matching = lab.embedded_rows
    if filters:
        matching = lab.count_matching(filters)
        _show_selectivity(matching, lab.embedded_rows)
    st.markdown("**How**")
    target = _target()
    rounds = _rounds()
    clients = _clients(protocol)
    with st.expander("More", icon=":material/tune:"):
        advanced = _advanced(queries.kind, is_filtered=bool(filters))
    return Draft(queries, k, filters, matching, protocol, target, rounds, clients, advanced)


def _protocol() -> Protocol:
    rules = [
        f"**{_PROTOCOLS[protocol]}**: {escape(rules.description)}."
        for protocol, rules in RULES.items()
    ]
    return choice(
        "Rules to measure by (protocol)",
        by_value(list(Protocol)),
        lambda protocol: _PROTOCOLS[protocol],
        key=f"{PREFIX}protocol",
        default=Protocol.VECSCOPE,
        help_text="  \n".join(
            [*rules, "Figures can only be compared with figures of the same rules."]
        ),
    )


def _queries(lab: CollectionLab) -> QueryDraft:
    kind = choice(
        "Where the queries come from",
        by_value(list(QueryKind)),
        lambda kind: _QUERY_KINDS[kind],
        key=f"{PREFIX}from",
        default=QueryKind.SAMPLE,
        help_text="**Rows of the collection**: drawn at random; each is left out of its own "
        "answer.  \n**A query set**: the questions of your users, the best there is.  "
        "\n**A file**: of questions or of vectors.",
    )
    query_set, file, available = "", None, QUERY_COUNT.high
    match kind:
        case QueryKind.SAMPLE:
            available = lab.embedded_rows
        case QueryKind.QUERY_SET:
            query_set, available = _query_set(lab.query_sets())
        case QueryKind.FILE:
            file = _file()
    count = number_field(
        "How many",
        QUERY_COUNT.low,
        QUERY_COUNT.high,
        max(1, min(QUERY_COUNT.default, available)),
        1,
        key=f"{PREFIX}n",
        help_text="More make the figures surer and take longer. 500 are sure to about ±1 %.",
    )
    if count > available:
        st.caption(f"There are {available:,}: all of them are asked.")
    return QueryDraft(kind, count, query_set, file)


def _query_set(query_sets: Sequence[QuerySetSummary]) -> tuple[str, int]:
    """Its name and how many queries it has; the name is empty where there is none."""
    sizes = {summary.query_set.name: summary.queries for summary in query_sets}
    if not sizes:
        return "", QUERY_COUNT.default  # the answer's side says how to come by one
    name = choice(
        "Query set",
        by_value(list(sizes)),
        lambda name: f"{name} ({sizes[name]:,})",
        key=f"{PREFIX}set",
        default=next(iter(sizes)),
        help_text="Texts are embedded by the collection's model. In brackets how many there are.",
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
    return number_field(
        "Neighbours wanted (k)",
        K.low,
        K.high,
        K.default,
        1,
        key=f"{PREFIX}k",
        help_text="How many results your application shows. Recall@k is the share of the k true "
        "neighbours that the index finds.",
    )


def _show_selectivity(matching: int, rows: int) -> None:
    st.caption(
        f"The filter leaves {matching:,} of {format_count(rows, 'row')}, "
        f"{format_percent(matching / max(rows, 1))} (its selectivity)."
    )


def _target() -> Target | None:
    has_target = switch(
        "Look for a target",
        key=f"{PREFIX}aim",
        default=True,
        options={"no": False, "yes": True},
        help_text="Finds the smallest setting of each candidate that does what you need, and names "
        "the best of them. Without it the settings are measured, and no more.",
    )
    if not has_target:
        return None
    recall = number_slider(
        "Target recall",
        MIN_RECALL,
        1.0,
        Target().recall,
        0.005,
        key=f"{PREFIX}recall",
        help_text="The share of the true neighbours to find. 0.95: of 20 true neighbours 19 are "
        "found, on average. By the vecscope rules the lower end of the 95 % interval has to reach "
        "it, so that luck does not.",
        format="%.3f",
    )
    p95_ms = number_field(
        "p95 target (ms)",
        0.0,
        MAX_P95_MS,
        0.0,
        1.0,
        key=f"{PREFIX}p95",
        help_text="19 of 20 answers are quicker than this. 0: any latency will do.",
        format="%g",
    )
    priority = choice(
        "Priority",
        by_value(list(Priority)),
        lambda priority: priority.label,
        key=f"{PREFIX}priority",
        default=Priority.LATENCY,
        help_text="Of the candidates that reach the target, which one is recommended.",
    )
    return Target(recall, p95_ms or None, priority)


def _rounds() -> int:
    return number_slider(
        "Rounds",
        ROUNDS.low,
        ROUNDS.high,
        ROUNDS.default,
        1,
        key=f"{PREFIX}rounds",
        help_text="How often each setting is measured, in a random order that is another in each "
        "round, so that what the machine does meanwhile is unfair to none. The median counts.",
    )


def _clients(protocol: Protocol) -> tuple[int, ...]:
    # A key for each protocol, since the default differs.
    suffix = "" if protocol is Protocol.VECSCOPE else f"_{protocol.value}"
    return choice(
        "Concurrent clients",
        _CLIENTS,
        lambda clients: ", ".join(map(str, clients)),
        key=f"{PREFIX}clients{suffix}",
        default=RULES[protocol].clients,
        help_text="For queries a second: each number is measured. Each client is a process of its "
        "own, and shares this machine with the server, if that is here.",
    )


# --- more ---------------------------------------------------------------------------------------


def _advanced(kind: QueryKind, *, is_filtered: bool) -> AdvancedSettings:
    iterative_scans: tuple[IterativeScan, ...] = (IterativeScan.OFF,)
    if is_filtered:
        iterative_scans = _iterative_scans()
    else:
        st.caption(
            "With a filter there is also the iterative scan, which goes on where the filter left "
            "too few rows."
        )
    seed = _seed() if kind is QueryKind.SAMPLE else 0
    values = {
        method.search_parameter.name: named
        for method in index_methods()
        if (named := _values(method)) is not None
    }
    oversampling = _oversampling()
    name = _experiment_name()
    return AdvancedSettings(iterative_scans, seed, values, oversampling, name)


def _iterative_scans() -> tuple[IterativeScan, ...]:
    chosen = choice(
        "Iterative scan",
        by_value(list(_SCANS)),
        lambda name: _SCAN_LABELS[name],
        key=f"{PREFIX}iterative",
        default="all",
        help_text="An index finds first and filters then. An iterative scan goes on when the "
        "filter leaves too few: it finds more and takes longer (pgvector 0.8 and later). IVFFlat "
        "has relaxed order only.",
    )
    return _SCANS[chosen]


def _seed() -> int:
    return number_field(
        "Random seed",
        0,
        MAX_SEED,
        0,
        1,
        key=f"{PREFIX}seed",
        help_text="The same number draws the same rows, as long as the collection is the same.",
    )


def _values(method: IndexMethod) -> tuple[int, ...] | None:
    """The values of the method's search parameter to measure; None where there are none. Raises
    InvalidInput."""
    parameter = method.search_parameter
    key = f"{PREFIX}{parameter.link}"
    read_text(key)
    typed = st.text_input(
        f"{method.label}: {parameter.label}",
        key=key,
        placeholder=f"The lab chooses; or such as {parameter.example}",
        help="The values to measure, with commas. Left empty, the lab takes about eight, from the "
        "quickest to the most exact.",
    )
    write_text(key, typed)
    parts = typed.replace(";", ",").replace(" ", ",").split(",")
    numbers = [part for part in parts if part]
    if not all(number.isdecimal() for number in numbers):
        raise InvalidInput(
            f"“{typed}” is no list of whole numbers for {parameter.label}.",
            hint="Write 10, 20, 40.",
        )
    return tuple(dict.fromkeys(int(number) for number in numbers)) or None


def _oversampling() -> int:
    return number_field(
        "Oversampling",
        OVERSAMPLING.low,
        OVERSAMPLING.high,
        OVERSAMPLING.default,
        1,
        key=f"{PREFIX}oversampling",
        help_text="Of candidates with binary quantization: so many times k rows are found by their "
        "bits and ranked again by the full vector.",
    )


def _experiment_name() -> str | None:
    name = st.text_input(
        "Name of the experiment",
        max_chars=NAME_LENGTH,
        key=_NAME,
        placeholder="What is compared, and when",
        help="To find it again. It can be renamed later.",
    )
    return name.strip() or None


# --- the same again -----------------------------------------------------------------------------


def experiment_params(spec: ExperimentSpec) -> LinkParams:
    """The settings of an experiment as they stand in the URL; a file is not among them."""
    params = {
        "index": [str(candidate) for candidate in spec.candidates],
        **_query_params(spec),
        **_filter_params(spec),
        **_protocol_params(spec),
        **_target_params(spec.target),
        **{
            method.search_parameter.link: ", ".join(map(str, spec.values_of(method) or ()))
            for method in index_methods()
        },
        "oversampling": _unless_default(spec.oversampling, OVERSAMPLING.default),
    }
    return {f"{PREFIX}{name}": value for name, value in params.items() if value}


def _unless_default(value: object, default: object) -> str:
    return "" if value == default else str(value)


def _query_params(spec: ExperimentSpec) -> dict[str, str]:
    queries = spec.queries
    return {
        "from": _unless_default(queries.kind, QueryKind.SAMPLE),
        "set": queries.name if queries.kind is QueryKind.QUERY_SET else "",
        "n": str(queries.count),
        "seed": _unless_default(queries.seed, 0),
    }


def _filter_params(spec: ExperimentSpec) -> dict[str, str | list[str]]:
    category = spec.category
    own = None if category is None else Filter(CATEGORY, FilterOp.EQUALS, category)
    params: dict[str, str | list[str]] = {
        "category": category or "",
        "f": [str(one) for one in spec.filters if one != own],
    }
    for name, scans in _SCANS.items():
        if spec.filters and spec.iterative_scans == scans:
            params["iterative"] = _unless_default(name, "all")
    return params


def _protocol_params(spec: ExperimentSpec) -> dict[str, str]:
    params = {
        "protocol": _unless_default(spec.protocol, Protocol.VECSCOPE),
        "k": "" if spec.rules.k is not None else _unless_default(spec.k, K.default),
        "rounds": _unless_default(spec.rounds, ROUNDS.default),
    }
    clients = ",".join(map(str, spec.clients))
    if clients in _CLIENTS and spec.clients != spec.rules.clients:
        suffix = "" if spec.protocol is Protocol.VECSCOPE else f"_{spec.protocol.value}"
        params[f"clients{suffix}"] = clients
    return params


def _target_params(target: Target | None) -> dict[str, str]:
    if target is None:
        return {"aim": "no"}
    return {
        "recall": "" if target.recall == Target().recall else f"{target.recall:g}",
        "p95": f"{target.p95_ms:g}" if target.p95_ms else "",
        "priority": _unless_default(target.priority, Priority.LATENCY),
    }
