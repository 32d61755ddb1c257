"""The process that asks the server and takes the time: ``python -m lib.lab.worker``.

One connection, nothing else to do: no event loop, no other thread that computes. It is told on
stdin what to ask, the address and password of the database included, answers on stdout, and ends
when stdin does, even in the middle of its work: whoever wanted to know is gone then.
"""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pickle import dump, load
from typing import Any, BinaryIO

import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg.rows import tuple_row

from lib.errors import DatabaseProblem, from_exception
from lib.lab.protocol import (
    Answers,
    Ask,
    Connect,
    Connected,
    Explain,
    Failed,
    Load,
    Loaded,
    Message,
    Plans,
    Reply,
)
from lib.process import take_pipes

# A generic plan may differ from the one that EXPLAIN shows
# (docs/decisions/006-every-plan-is-a-custom-plan.md).
_CONSTANTS = {"plan_cache_mode": "force_custom_plan"}
_COUNTED_SINCE = 150_000  # pg_stat_force_next_flush (PostgreSQL 15)


@dataclass(frozen=True)
class _Loaded:
    sql: str
    parameters: list[dict[str, Any]]
    index: str | None


class _Session:
    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._connection = psycopg.connect(**arguments, autocommit=True, row_factory=tuple_row)
        # Prepared where it is asked for, and nothing else; None would refuse that too.
        self._connection.prepare_threshold = sys.maxsize
        register_vector(self._connection)
        # Binary throughout: no numbers to write and to parse.
        self._cursor = self._connection.cursor(binary=True)
        self._loaded: dict[str, _Loaded] = {}
        self._settings: dict[str, str] | None = None
        counts = self._scalar("SELECT current_setting('track_counts')::bool")
        self._counts = counts and self._connection.info.server_version >= _COUNTED_SINCE

    @property
    def backend_pid(self) -> int:
        return self._connection.info.backend_pid

    def load(self, message: Load) -> Loaded:
        kind = HalfVector if message.is_halfvec else Vector
        self._loaded[message.key] = _Loaded(
            # A vector goes in binary; the psycopg form of that is b in place of s.
            message.sql.replace(f"%({message.vector_name})s", f"%({message.vector_name})b"),
            [
                {**message.parameters, message.vector_name: kind.from_binary(each)}
                for each in message.vectors
            ],
            message.index,
        )
        return Loaded()

    def ask(self, message: Ask) -> Answers:
        loaded = self._loaded[message.key]
        self._set(message.settings)
        before = self._scans(loaded.index)
        cursor, sql, clock = self._cursor, loaded.sql, time.perf_counter
        seconds = array("d", bytes(8 * len(message.order)))
        ids: list[list[Any]] = []
        # A pause of ours is no latency of the server's. And before the warm-up: it goes through
        # all of our memory, which empties the processor's caches of the server's.
        gc.collect()
        gc.disable()
        try:
            for place in message.warm_up:
                cursor.execute(sql, loaded.parameters[place], prepare=True).fetchall()
            started = clock()
            for number, place in enumerate(message.order):
                parameters = loaded.parameters[place]
                sent = clock()
                rows = cursor.execute(sql, parameters, prepare=True).fetchall()
                seconds[number] = clock() - sent
                if message.with_ids:
                    ids.append([row[0] for row in rows])
            ended = clock()
        finally:
            gc.enable()
        after = self._scans(loaded.index)
        scans = None if before is None or after is None else max(0, after - before)
        return Answers(started, ended, seconds, ids if message.with_ids else None, scans)

    def explain(self, message: Explain) -> Plans:
        loaded = self._loaded[message.key]
        self._set(message.settings)
        # Without TIMING: a look at the clock for each row would be most of what is measured.
        sql = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {loaded.sql}"
        documents = []
        for place in message.order:
            row = self._cursor.execute(sql, loaded.parameters[place]).fetchone()
            assert row is not None
            documents.append(row[0])
        return Plans(documents)

    def _set(self, settings: Mapping[str, str]) -> None:
        wanted = {**_CONSTANTS, **settings}
        if wanted == self._settings:
            return
        self._cursor.execute("RESET ALL")
        for name, value in wanted.items():
            self._cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        self._settings = wanted

    def _scans(self, index: str | None) -> int | None:
        if index is None or not self._counts:
            return None
        # Counts are kept by the session for a while, unless it is told to hand them over.
        self._cursor.execute("SELECT pg_stat_force_next_flush()")
        # Of an index that is gone there is no count: it is scanned no more.
        sql = "SELECT coalesce(pg_stat_get_numscans(to_regclass(%s)), 0)"
        return int(self._scalar(sql, (index,)))

    def _scalar(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        row = self._cursor.execute(sql, parameters).fetchone()
        return None if row is None else row[0]


def main() -> None:
    messages, replies = take_pipes()
    waiting: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(messages, waiting), daemon=True).start()
    session: _Session | None = None
    while True:
        message = waiting.get()
        try:
            if isinstance(message, Connect):
                session = _Session(message.arguments)
                reply: Reply = Connected(session.backend_pid)
            else:
                assert session is not None
                reply = _reply(session, message)
        except psycopg.Error as exc:
            said = " ".join(str(exc).split())
            reply = Failed(
                from_exception(exc) or DatabaseProblem(f"The database reported: {said}.")
            )
        except Exception:  # noqa: BLE001 - whoever waits is told by the end of the answers
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        dump(reply, replies, protocol=5)
        replies.flush()


def _reply(session: _Session, message: Load | Ask | Explain) -> Reply:
    if isinstance(message, Load):
        return session.load(message)
    if isinstance(message, Ask):
        return session.ask(message)
    return session.explain(message)


def _listen(messages: BinaryIO, waiting: queue.SimpleQueue[Message]) -> None:
    """It waits in the kernel, which takes nothing from the thread that measures."""
    while True:
        try:
            waiting.put(load(messages))  # of our own process, which started this one
        except EOFError:
            os._exit(0)


if __name__ == "__main__":
    main()
