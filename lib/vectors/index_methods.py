"""Index methods: what each approximate index of pgvector is called, takes and is good for.

An index method is a value. Pages, the command line, parsing, the lab's sweep, estimates and the
catalogue query ask it, so that a new method is one more value in the registry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from lib.errors import IndexRefused, InvalidInput, LimitExceeded
from lib.limits import IntRange
from lib.vectors.distance import BIT_SUFFIX, Distance, ElementType
from lib.vectors.index_costs import HNSW_COSTS, IVFFLAT_COSTS, IndexCosts

# pgvector README, "HNSW", "IVFFlat" and "Reference"; the source's HNSW_*/IVFFLAT_* constants.
LISTS = IntRange(1, 32768, 100)
PROBES = IntRange(1, 32768, 1)
M = IntRange(2, 100, 16)
EF_CONSTRUCTION = IntRange(4, 1000, 64)
EF_SEARCH = IntRange(1, 1000, 40)

FEW_ROWS = 100_000
MANY_ROWS = 1_000_000


class IterativeScan(StrEnum):
    """Whether an index scan goes on when a filter left too few rows (pgvector ≥ 0.8)."""

    OFF = "off"
    STRICT = "strict_order"
    RELAXED = "relaxed_order"

    @property
    def label(self) -> str:
        """Such as “relaxed order”; empty for OFF."""
        match self:
            case IterativeScan.OFF:
                return ""
            case IterativeScan.STRICT:
                return "strict order"
            case IterativeScan.RELAXED:
                return "relaxed order"
            case _:
                assert_never(self)


# --- what a method is made of -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BuildOption:
    """A storage parameter of CREATE INDEX … WITH (…), with its limits and its words on screen."""

    name: str
    label: str
    help: str
    range: IntRange
    recommended: Callable[[int, Mapping[str, int]], int] | None = None
    """(rows, the options before it) → the guideline's value; None: the range's default."""
    lower_bound: Callable[[Mapping[str, int]], int] | None = None
    """The options before it → the least value that goes with them; None: the range's."""
    lower_bound_formula: str = ""
    """The same for people, such as “2 · m”."""

    def least(self, before: Mapping[str, int]) -> int:
        low = self.range.low if self.lower_bound is None else self.lower_bound(before)
        return min(max(low, self.range.low), self.range.high)

    def recommend(self, rows: int, before: Mapping[str, int]) -> int:
        return self.range.default if self.recommended is None else self.recommended(rows, before)

    def check(self, value: int, before: Mapping[str, int]) -> None:
        """Raises LimitExceeded where the value is outside the range, or does not go with the
        options before it."""
        self.range.check(value, self.name)
        if self.lower_bound is not None and value < self.lower_bound(before):
            least = self.lower_bound(before)
            raise LimitExceeded(
                f"{self.name} is {value}, below {self.lower_bound_formula} = {least}.",
                hint=f"Take {self.name} ≥ {least}, or a smaller {' or '.join(before)}.",
                field=self.name,
            )


@dataclass(frozen=True, slots=True)
class SearchParameterSpec:
    """The parameter that trades a search's speed against its recall."""

    name: str
    setting: str
    """PostgreSQL's name of it, such as ``hnsw.ef_search``."""
    label: str
    help: str
    range: IntRange
    link: str
    """Its name in the query string of a page."""
    example: str = ""
    """Values to measure, such as “20, 40, 80”."""
    bounded_by: str = ""
    """The build option that it cannot usefully exceed."""
    monotonic: bool = False
    """Whether a larger value always finds what a smaller one finds."""
    bounds_result: bool = False
    """Whether a scan returns no more rows than its value."""
    recommended: Callable[[Mapping[str, int]], int] | None = None
    """Build options → where to start; None: the range's default."""
    guideline: str = ""
    """The same for people, such as “√lists”."""

    def highest(self, options: Mapping[str, int]) -> int:
        """The largest value that means anything to an index with these build options."""
        return min(self.range.high, options.get(self.bounded_by, self.range.high))

    def recommend(self, options: Mapping[str, int]) -> int:
        return self.range.default if self.recommended is None else self.recommended(options)

    def limits(self, options: Mapping[str, int]) -> IntRange:
        """Its range for an index with these build options."""
        high = self.highest(options)
        return IntRange(self.range.low, high, min(self.recommend(options), high))


@dataclass(frozen=True, slots=True)
class BuildPhase:
    """A phase of a build, as pg_stat_progress_create_index tells it."""

    server_name: str
    label: str
    begin: float | None = None
    end: float | None = None
    """The share of the build (0–1) that is done when it begins and ends; None where the rows that
    it has done say it."""


@dataclass(frozen=True)
class IndexMethod:
    """An approximate index of pgvector: an access method of PostgreSQL with its options, its
    search parameter and its guidelines. Two of one name are the same."""

    name: str
    """PostgreSQL's name of the access method, as in CREATE INDEX … USING."""
    label: str = field(compare=False)
    help: str = field(compare=False)
    """One sentence for people: how it works, what it is good for."""
    build_options: tuple[BuildOption, ...] = field(compare=False)
    search_parameter: SearchParameterSpec = field(compare=False)
    costs: IndexCosts = field(compare=False)
    """What an index takes: bytes, memory, seconds."""
    iterative_scans: tuple[IterativeScan, ...] = field(default=tuple(IterativeScan), compare=False)
    """OFF, and the orders in which it can scan on."""
    max_scan_tuples_setting: str = field(default="", compare=False)
    """PostgreSQL's name of the limit to an iterative scan; empty where it has none."""
    distances: tuple[Distance, ...] = field(default=tuple(Distance), compare=False)
    """Those that it has operator classes for."""
    phases: tuple[BuildPhase, ...] = field(default=(), compare=False)
    rows_option: str = field(default="", compare=False)
    """The build option whose value is the fewest rows that an index can learn from, as each list
    of IVFFlat needs a centre."""
    more_recall: Callable[[Mapping[str, int]], str] | None = field(default=None, compare=False)
    """Build options → what would raise the recall of an index that is at its end."""
    more_speed: Callable[[Mapping[str, int]], str] | None = field(default=None, compare=False)
    """Build options → what would make a search quicker at the same recall."""

    @property
    def scans_iteratively(self) -> bool:
        """Whether a scan can go on when a filter left too few rows."""
        return any(scan is not IterativeScan.OFF for scan in self.iterative_scans)

    @property
    def iterative_scan_setting(self) -> str:
        return f"{self.name}.iterative_scan"

    def operator_class(self, distance: Distance, element_type: ElementType) -> str:
        """The operator class that an index must have to serve the distance, such as
        ``vector_cosine_ops``.

        Raises IndexRefused where the method has none.
        """
        if distance not in self.distances:
            known = ", ".join(each.value for each in self.distances)
            raise IndexRefused(
                f"{self.label} has no operator class for the {distance.label}.",
                hint=f"It indexes {known}.",
                field="distance",
            )
        suffix = BIT_SUFFIX if element_type is ElementType.BIT else distance.suffix
        return f"{element_type.value}_{suffix}"

    def option(self, name: str) -> BuildOption:
        return next(option for option in self.build_options if option.name == name)

    def spec(self, **options: int) -> IndexSpec:
        """An index by this method; options that are not named have pgvector's defaults.

        Raises InvalidInput for an unknown option, LimitExceeded for a value.
        """
        return IndexSpec(self, options)

    def recommended(self, rows: int, **options: int) -> IndexSpec:
        """The guideline's index for so many rows, save for the options that are named."""
        chosen: dict[str, int] = {}
        for option in self.build_options:
            chosen[option.name] = options.pop(option.name, 0) or option.recommend(rows, chosen)
        return IndexSpec(self, chosen | options)

    def built_share(self, phase: str, phase_share: float, rows_share: float) -> float:
        """The share (0–1) of a build that is done in the phase of this label.

        phase_share: of the phase; rows_share: of all rows, by what the phase has done.
        """
        current = next((each for each in self.phases if each.label == phase), None)
        if any(each.begin is not None for each in self.phases):
            if current is None or current.begin is None or current.end is None:
                return 0.0
            return current.begin + (current.end - current.begin) * phase_share
        return rows_share

    def nearest_scan(self, scan: IterativeScan) -> IterativeScan:
        """The iterative scan that stands for this one where the method does not have it."""
        if scan in self.iterative_scans:
            return scan
        return (
            IterativeScan.RELAXED
            if IterativeScan.RELAXED in self.iterative_scans
            else (IterativeScan.OFF)
        )

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=True)
class IndexSpec:
    """An index to build: a method and its build options, each with a value.

    As text ``hnsw:m=16,ef_construction=64``, read by :func:`parse_spec_text`.
    Raises InvalidInput for an unknown option, LimitExceeded for a value.
    """

    method: IndexMethod
    options: Mapping[str, int] = field(default_factory=dict)
    """By name, in the method's order; those that are not given have pgvector's defaults."""

    def __post_init__(self) -> None:
        names = [option.name for option in self.method.build_options]
        for name in self.options:
            if name not in names:
                raise InvalidInput(
                    f"{self.method.label} has no option {name}.",
                    hint=f"It takes {' and '.join(names)}.",
                    field=name,
                )
        options: dict[str, int] = {}
        for option in self.method.build_options:
            value = self.options.get(option.name, option.range.default)
            option.check(value, options)
            options[option.name] = value
        object.__setattr__(self, "options", options)

    def __getitem__(self, option: str) -> int:
        return self.options[option]

    @property
    def rows_needed(self) -> int:
        """The fewest rows that it can learn from."""
        return self.options.get(self.method.rows_option, 1)

    def __hash__(self) -> int:
        return hash((self.method, *self.options.items()))

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.method.name}:{options}"

    @property
    def label(self) -> str:
        """Such as “HNSW m 16, ef_construction 64”."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.method.label} {options}".strip()


# --- guidelines ---------------------------------------------------------------------------------


def recommended_lists(rows: int) -> int:
    """rows / 1000 up to a million rows, √rows above, at least 10 (pgvector README, "IVFFlat")."""
    lists = rows / 1000 if rows <= MANY_ROWS else math.sqrt(rows)
    return min(LISTS.high, max(10, round(lists)))


def recommended_probes(lists: int) -> int:
    """√lists, a place to start from (pgvector README, "IVFFlat")."""
    return max(1, round(math.sqrt(lists)))


def recommended_method(
    rows: int, *, high_recall: bool = False, memory_bound: bool = False
) -> tuple[IndexMethod, str]:
    """The method to start with, and why.

    Our reading of the pgvector README, "Indexing": IVFFlat builds faster and in less memory,
    HNSW has the better trade of speed against recall. Measure before you believe it.
    """
    if memory_bound:
        return IVFFLAT, "memory is short: IVFFlat stores no graph"
    if high_recall:
        return HNSW, "high recall is wanted: HNSW reaches it at the lower latency"
    if rows < FEW_ROWS:
        return IVFFLAT, f"under {FEW_ROWS:,} rows: IVFFlat builds in seconds and is quick"
    if rows <= MANY_ROWS:
        return HNSW, f"{FEW_ROWS:,}–{MANY_ROWS:,} rows: either does, HNSW is the quicker"
    return HNSW, f"over {MANY_ROWS:,} rows: HNSW keeps its speed as the table grows"


def _denser_graph(options: Mapping[str, int]) -> str:
    m = min(M.high, 2 * options["m"])
    breadth = min(EF_CONSTRUCTION.high, max(2 * options["ef_construction"], 2 * m))
    return f"a denser graph: m = {m}, ef_construction = {breadth}"


# --- the methods --------------------------------------------------------------------------------

IVFFLAT = IndexMethod(
    name="ivfflat",
    label="IVFFlat",
    help="Sorts rows into lists and searches some of them: quick to build, small.",
    build_options=(
        BuildOption(
            name="lists",
            label="Lists (lists)",
            help="How many lists the rows are sorted into. The guideline is one for each 1,000 "
            "rows, √rows above a million, at least 10. More lists make a search quicker and find "
            "less, until more of them are searched (probes).",
            range=LISTS,
            recommended=lambda rows, _before: recommended_lists(rows),
        ),
    ),
    search_parameter=SearchParameterSpec(
        name="probes",
        setting="ivfflat.probes",
        label="Lists searched (probes)",
        help="How many lists a search compares. More find more of the true neighbours and take "
        "longer; all of them is an exact search.",
        range=PROBES,
        link="probes",
        example="1, 3, 10, 30",
        bounded_by="lists",
        monotonic=True,
        recommended=lambda options: recommended_probes(options.get("lists", LISTS.default)),
        guideline="√lists",
    ),
    costs=IVFFLAT_COSTS,
    iterative_scans=(IterativeScan.OFF, IterativeScan.RELAXED),
    # pgvector README, "Indexing Progress"
    phases=(
        BuildPhase(
            "building index: performing k-means",
            "Finding the centres of the lists (k-means)",
            0,
            0.3,
        ),
        BuildPhase("building index: assigning tuples", "Sorting rows into lists", 0.3, 0.7),
        BuildPhase("building index: loading tuples", "Loading rows", 0.7, 1),
    ),
    rows_option="lists",
    more_speed=lambda options: (
        f"HNSW, or more lists ({2 * options['lists']:,}), so that each holds fewer rows"
    ),
)

HNSW = IndexMethod(
    name="hnsw",
    label="HNSW",
    help="Walks a graph in layers: quicker and more exact to search, slower to build, larger.",
    build_options=(
        BuildOption(
            name="m",
            label="Links per node (m)",
            help="How many links each row has in the graph. More find more, and take more memory "
            "and time to build.",
            range=M,
        ),
        BuildOption(
            name="ef_construction",
            label="Build breadth (ef_construction)",
            help="How many rows are compared to find a row's links, at least twice the links per "
            "node. More make a better graph and take longer to build.",
            range=EF_CONSTRUCTION,
            recommended=lambda _rows, before: max(
                EF_CONSTRUCTION.default, min(2 * before["m"], EF_CONSTRUCTION.high)
            ),
            # hnsw.c: "ef_construction must be greater than or equal to 2 * m"
            lower_bound=lambda before: 2 * before["m"],
            lower_bound_formula="2 · m",
        ),
    ),
    search_parameter=SearchParameterSpec(
        name="ef_search",
        setting="hnsw.ef_search",
        label="Search breadth (ef_search)",
        help="How many of the nearest rows a search keeps while it walks the graph. More find more "
        "of the true neighbours and take longer; a search returns no more rows than this.",
        range=EF_SEARCH,
        link="ef",
        example="20, 40, 80, 160",
        bounds_result=True,
    ),
    costs=HNSW_COSTS,
    max_scan_tuples_setting="hnsw.max_scan_tuples",
    phases=(BuildPhase("building index: loading tuples", "Loading rows"),),
    more_recall=_denser_graph,
    more_speed=lambda _options: (
        "a denser graph (larger m), which reaches the recall with a smaller ef_search"
    ),
)

_registry: dict[str, IndexMethod] = {method.name: method for method in (IVFFLAT, HNSW)}


def index_methods() -> tuple[IndexMethod, ...]:
    """Every index method that Vecscope knows, in the order that pages list them."""
    return tuple(_registry.values())


def get_method(name: str) -> IndexMethod:
    """Raises InvalidInput, naming the choices."""
    method = _registry.get(name)
    if method is None:
        raise InvalidInput(
            f"“{name}” is no index method.",
            hint=f"Take {' or '.join(sorted(_registry))}.",
            field="kind",
        )
    return method


def method_with_parameter(name: str) -> IndexMethod:
    """The method whose search parameter it is. Raises InvalidInput."""
    for method in index_methods():
        if method.search_parameter.name == name:
            return method
    raise InvalidInput(f"“{name}” is no search parameter of an index.", field=name)


@contextmanager
def registered(method: IndexMethod) -> Iterator[IndexMethod]:
    """Adds a method to the registry for as long as the block runs."""
    if method.name in _registry:
        raise InvalidInput(f"There is an index method {method.name} already.", field="kind")
    _registry[method.name] = method
    try:
        yield method
    finally:
        del _registry[method.name]


# --- reading ------------------------------------------------------------------------------------


def parse_spec(method: str, options: Mapping[str, int]) -> IndexSpec:
    """Raises InvalidInput for an unknown method or option, LimitExceeded for a value."""
    return IndexSpec(get_method(method), options)


def parse_spec_text(text: str, rows: int) -> IndexSpec:
    """``ivfflat:lists=100``, ``hnsw:m=16,ef_construction=64``, or the method alone, which takes the
    guideline's options for so many rows.

    Raises InvalidInput where it cannot be read, LimitExceeded for a value.
    """
    name, _, rest = text.strip().lower().partition(":")
    options: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, _, value = part.partition("=")
        if not value.strip().isdecimal():
            examples = " or ".join(str(method.spec()) for method in index_methods())
            raise InvalidInput(
                f"“{part}” is no option of an index.",
                hint=f"Write it as {examples}.",
                field="index",
            )
        options[key.strip()] = int(value)
    method = get_method(name)
    return method.spec(**options) if options else method.recommended(rows)
