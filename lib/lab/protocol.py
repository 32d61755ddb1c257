"""The protocol of the processes that measure (:mod:`lib.lab.worker`): pickled values.

Pickle, not JSON: both ends are ours, and what a client takes to read its orders and to answer is
time in which it does not ask.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.errors import VecscopeError


@dataclass(frozen=True)
class Connect:
    """arguments: of ``psycopg.connect``. Answered by Connected."""

    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Load:
    """A statement, with a named parameter ``vector_name`` for the query. parameters: the others.
    vectors: of each query, as pgvector sends it in binary; halves: they are halfvec. index: the
    qualified name whose scans are counted, None for none. Answered by Loaded."""

    key: str
    sql: str
    vector_name: str
    parameters: Mapping[str, Any]
    vectors: Sequence[bytes]
    halves: bool
    index: str | None


@dataclass(frozen=True)
class Ask:
    """Asks the queries at these places, one after the other, under these settings. warm_up: places
    that are asked before, and not counted. with_ids: what was found is wanted. Answered by
    Answers."""

    key: str
    settings: Mapping[str, str]
    order: Sequence[int]
    warm_up: Sequence[int] = ()
    with_ids: bool = False


@dataclass(frozen=True)
class Explain:
    """The plans of the queries at these places under these settings, as EXPLAIN (ANALYZE, BUFFERS)
    gives them. Answered by Plans."""

    key: str
    settings: Mapping[str, str]
    order: Sequence[int]


Message = Connect | Load | Ask | Explain


@dataclass(frozen=True)
class Connected:
    backend_pid: int


@dataclass(frozen=True)
class Loaded:
    pass


@dataclass(frozen=True)
class Answers:
    """started, ended: of the clock that all processes of a machine share, in seconds. seconds:
    float64, one a query, from sending it to having its rows as Python values. ids: first column of
    the rows, where wanted. scans: how often the index was scanned meanwhile, the warm-up included,
    by anyone; None where the server does not count."""

    started: float
    ended: float
    seconds: array[float]
    ids: list[list[Any]] | None
    scans: int | None


@dataclass(frozen=True)
class Plans:
    documents: list[Any]


@dataclass(frozen=True)
class Failed:
    error: VecscopeError


Reply = Connected | Loaded | Answers | Plans | Failed
