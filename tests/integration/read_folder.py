"""Reads all files of a folder, as a load does, and prints what became of each as JSON.

In a process of its own, so that its memory is its own: python read_folder.py FOLDER BYTES SECONDS.
"""

import json
import resource
import sys
from pathlib import Path

from lib.ingest import isolation
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument
from lib.ingest.read import read


def main(folder: str, memory_bytes: str, seconds: str) -> None:
    isolation.DEFAULT_LIMITS = isolation.ReadLimits(int(memory_bytes), float(seconds))
    outcome = {}
    for path in sorted(Path(folder).iterdir()):
        documents = characters = 0
        words: set[str] = set()
        problems = []
        for result in read(FileSource.from_path(path)):
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
        "own": _own_peak_bytes(),
        "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    print(json.dumps({"files": outcome, "peak_bytes": peak}))  # noqa: T201


def _own_peak_bytes() -> int:
    """Of this program alone: getrusage also counts the process that it was started from, which
    Linux takes over at exec."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
