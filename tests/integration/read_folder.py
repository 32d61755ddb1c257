"""Reads all files of a folder, as a load does, and prints what became of each as JSON.

In a process of its own, so that its memory is its own: python read_folder.py FOLDER BYTES SECONDS.
"""

import json
import resource
import sys
from pathlib import Path

from lib.ingest import isolation
from lib.ingest.incoming import IncomingDocument
from lib.ingest.readers import read
from lib.ingest.source import Source


def main(folder: str, memory_bytes: str, seconds: str) -> None:
    isolation.DEFAULT_LIMITS = isolation.Limits(int(memory_bytes), float(seconds))
    outcome = {}
    for path in sorted(Path(folder).iterdir()):
        documents = characters = 0
        words: set[str] = set()
        problems = []
        for result in read(Source.from_path(path)):
            if isinstance(result, IncomingDocument):
                documents += 1
                characters += len(result.content)
                words.update(result.content[:1000].split())
            else:
                problems.append([result.place, result.reason, result.stored])
        outcome[path.name] = {
            "documents": documents,
            "characters": characters,
            "words": sorted(words)[:100],
            "problems": problems[:20],
        }
    isolation.close_idle()
    peak = {
        name: resource.getrusage(who).ru_maxrss * 1024
        for name, who in (
            ("own", resource.RUSAGE_SELF),
            ("children", resource.RUSAGE_CHILDREN),
        )
    }
    print(json.dumps({"files": outcome, "peak_bytes": peak}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
