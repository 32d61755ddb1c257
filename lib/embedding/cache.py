"""Vectors of texts that were embedded lately, bounded in bytes."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from lib.embedding.provider import Role
from lib.vectors.distance import FloatArray

Key = tuple[str, Role, bytes]

_ENTRY_OVERHEAD_BYTES = 400  # the key, the array's header and the dictionary's share, measured


def cache_key(model: str, role: Role, text: str) -> Key:
    return model, role, hashlib.sha256(text.encode()).digest()


class VectorCache:
    """The least recently used goes first. Threads may share it.

    Vectors in it are read-only, since everybody who asks gets the same array.
    """

    def __init__(self, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Key, FloatArray] = OrderedDict()
        self._lock = threading.Lock()
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Key], asyncio.Task[FloatArray]] = {}

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def get(self, key: Key) -> FloatArray | None:
        with self._lock:
            vector = self._entries.get(key)
            if vector is not None:
                self._entries.move_to_end(key)
            return vector

    def put(self, key: Key, vector: FloatArray) -> None:
        vector.setflags(write=False)
        with self._lock:
            if (old := self._entries.pop(key, None)) is not None:
                self._bytes -= old.nbytes + _ENTRY_OVERHEAD_BYTES
            self._entries[key] = vector
            self._bytes += vector.nbytes + _ENTRY_OVERHEAD_BYTES
            while self._bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= dropped.nbytes + _ENTRY_OVERHEAD_BYTES

    async def get_or_embed(
        self, key: Key, embed: Callable[[], Awaitable[FloatArray]]
    ) -> FloatArray:
        """The cached vector, or embed()'s. Those who ask for the same while it is under way share
        one call; it goes on when one of them is cancelled. A failure is not kept."""
        if (vector := self.get(key)) is not None:
            return vector
        place = (asyncio.get_running_loop(), key)
        task = self._under_way.get(place)
        if task is None:

            async def fill() -> FloatArray:
                vector = await embed()
                self.put(key, vector)
                return vector

            task = asyncio.create_task(fill())
            self._under_way[place] = task
            task.add_done_callback(lambda done: self._finished(place, done))
        return await asyncio.shield(task)

    def _finished(
        self, place: tuple[asyncio.AbstractEventLoop, Key], task: asyncio.Task[FloatArray]
    ) -> None:
        self._under_way.pop(place, None)
        if not task.cancelled():
            task.exception()  # seen, even where all who asked were cancelled
