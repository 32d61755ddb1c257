"""The cache of query vectors."""

import asyncio

import numpy as np
import pytest

from lib.embedding.cache import VectorCache, cache_key
from lib.embedding.provider import Role
from lib.errors import ProviderUnavailable


def _key(text: str, role: Role = Role.QUERY):
    return cache_key("model", role, text)


def _vector(value: float) -> np.ndarray:
    return np.full(256, value, dtype=np.float32)


def test_model_role_and_text_tell_entries_apart():
    keys = {
        _key("a"),
        _key("b"),
        _key("a", Role.DOCUMENT),
        cache_key("other", Role.QUERY, "a"),
    }
    assert len(keys) == 4


def test_the_least_recently_used_goes_first_and_the_bound_holds():
    cache = VectorCache(max_bytes=3 * 1500)
    for name in "abc":
        cache.put(_key(name), _vector(1))
    assert cache.get(_key("a")) is not None  # used: b is the oldest now
    cache.put(_key("d"), _vector(1))
    assert cache.get(_key("b")) is None
    assert all(cache.get(_key(name)) is not None for name in "acd")
    cache.put(_key("d"), _vector(2))
    assert cache.size_bytes <= 3 * 1500
    cache.put(_key("huge"), np.zeros(10_000, dtype=np.float32))
    assert cache.size_bytes == 0


def test_a_cached_vector_cannot_be_changed():
    cache = VectorCache()
    cache.put(_key("a"), _vector(1))
    with pytest.raises(ValueError, match="read-only"):
        cache.get(_key("a"))[0] = 5


async def test_two_at_once_make_one_call_and_survive_a_cancel():
    cache, calls, go = VectorCache(), 0, asyncio.Event()

    async def embed() -> np.ndarray:
        nonlocal calls
        calls += 1
        await go.wait()
        return _vector(7)

    first = asyncio.create_task(cache.get_or_embed(_key("a"), embed))
    second = asyncio.create_task(cache.get_or_embed(_key("a"), embed))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await second)[0] == 7
    assert first.cancelled()
    assert (await cache.get_or_embed(_key("a"), embed))[0] == 7
    assert calls == 1


async def test_a_failure_is_not_kept():
    cache = VectorCache()

    async def fail() -> np.ndarray:
        raise ProviderUnavailable("down")

    async def work() -> np.ndarray:
        return _vector(1)

    with pytest.raises(ProviderUnavailable):
        await cache.get_or_embed(_key("a"), fail)
    assert (await cache.get_or_embed(_key("a"), work))[0] == 1
