"""How fast the local model embeds, against WordLlama's own `embed`, on the same texts in one run.

Run: python -m bench.embedding. Prints JSON; the ratios are what can be compared between machines.
"""

import asyncio
import json
import random
import time
from pathlib import Path

from lib.embedding.models import resolve_model
from lib.embedding.service import EmbeddingService
from lib.embedding.tokens import cl100k
from lib.settings import Settings


def texts_of(count: int, words_mean: int, vocabulary: list[str]) -> list[str]:
    """Random words of real documentation, with lengths as spread as real ones (lognormal)."""
    pick = random.Random(words_mean)
    sizes = [max(3, round(pick.lognormvariate(0, 0.6) * words_mean)) for _ in range(count)]
    return [" ".join(pick.choices(vocabulary, k=size)) for size in sizes]


async def main() -> None:
    import wordllama

    settings = Settings(_env_file=None)
    service = EmbeddingService(resolve_model("local/wordllama-256", settings), settings)
    started = time.perf_counter()
    await service.get_embedding("load")
    result: dict[str, object] = {"local_load_seconds": round(time.perf_counter() - started, 2)}
    folder = Path(wordllama.__file__).parent
    theirs = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    sources = sorted(Path(random.__file__).parent.glob("*.py"))[:80]
    words = [word for path in sources for word in path.read_text(errors="replace").split()]
    vocabulary = [word for word in words if word.isalpha()]
    for count, words_mean in ((2000, 60), (1000, 400)):
        texts = texts_of(count, words_mean, vocabulary)
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(3):
            started = time.perf_counter()
            await service.get_embeddings_batch(texts)
            seconds["ours"].append(time.perf_counter() - started)
            started = time.perf_counter()
            theirs.embed(texts)
            seconds["theirs"].append(time.perf_counter() - started)
        ours, baseline = min(seconds["ours"]), min(seconds["theirs"])
        result[f"local_{words_mean}_words"] = {
            "documents_per_second": round(count / ours),
            "wordllama_embed_documents_per_second": round(count / baseline),
            "speed_ratio": round(baseline / ours, 2),
        }

    query_ms = []
    for number in range(200):
        started = time.perf_counter()
        await service.get_embedding(f"how to open file {number}")
        query_ms.append((time.perf_counter() - started) * 1000)
    result["local_query_ms_median"] = round(sorted(query_ms)[100], 3)

    started = time.perf_counter()
    cl100k()
    result["tiktoken_first_load_seconds"] = round(time.perf_counter() - started, 3)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
