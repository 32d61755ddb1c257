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
    """Opens the connection. Answered by Connected."""

    arguments: Mapping[str, Any]
    """Of ``psycopg.connect``."""


@dataclass(frozen=True)
class Load:
    """A statement and the vectors that it is asked with. Answered by Loaded."""

    key: str
    sql: str
    vector_name: str
    """The statement's named parameter for the query's vector."""
    parameters: Mapping[str, Any]
    """The others."""
    vectors: Sequence[bytes]
    """Of each query, as pgvector sends it in binary."""
    is_halfvec: bool
    """Whether the vectors are halfvec."""
    index: str | None
    """The qualified name of the index whose scans are counted; None for none."""


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
    """What a worker measured of a batch of queries."""

    started: float
    """By the clock that all processes of a machine share, in seconds; so is ``ended``."""

    ended: float

    seconds: array[float]
    """One a query, from sending it to having its rows as Python values."""

    ids: list[list[Any]] | None
    """The first column of the rows, where that is wanted."""

    scans: int | None
    """How often the index was scanned meanwhile, the warm-up included, by anyone; None where the
    server does not count."""


@dataclass(frozen=True)
class Plans:
    documents: list[Any]


@dataclass(frozen=True)
class Failed:
    error: VecscopeError


Reply = Connected | Loaded | Answers | Plans | Failed
