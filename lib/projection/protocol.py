"""The protocol of the projection's worker process: a line of JSON, then the arrays it names, raw.

Both ends are ours and nothing that came from outside is parsed; arrays of 100 MB go through a pipe
as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PhaseShare:
    """How far a phase of the work is, such as "layout"."""

    phase: str
    share: float
    """0–1 of the phase."""

    @property
    def message(self) -> str:
        return self.phase


def write_message(pipe: BinaryIO, header: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    contiguous = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    shapes = [(name, array.dtype.str, array.shape) for name, array in contiguous.items()]
    pipe.write(json.dumps({"header": header, "arrays": shapes}).encode() + b"\n")
    for array in contiguous.values():
        pipe.write(array.reshape(-1).view(np.uint8).data)
    pipe.flush()


def read_message(pipe: BinaryIO) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
    """The header and the arrays; None at the end, also where it comes within a message."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    arrays = {}
    for name, kind, shape in message["arrays"]:
        array = np.empty(shape, dtype=np.dtype(kind))
        rest = memoryview(array.reshape(-1).view(np.uint8).data)
        while len(rest):
            count = pipe.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                return None
            rest = rest[count:]
        arrays[name] = array
    return message["header"], arrays
