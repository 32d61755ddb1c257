"""A real HTTP server that answers like OpenAI's embeddings endpoint (and Cohere's), and misbehaves
when told to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


def vector_of(text: str, dimensions: int) -> np.ndarray:
    """The vector that the server gives for a text: float32 (d,), the same each time."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)


@dataclass(frozen=True)
class Misbehaviour:
    """What one request gets instead of its answer, or what is done to its answer.

    status: an HTTP error. change: the right answer → what is sent. hang: no answer at all.
    half: the connection is closed in the middle. raw: this body, with status 200.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    change: Callable[[dict[str, Any]], Any] | None = None
    hang: bool = False
    half: bool = False
    raw: bytes | None = None


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def texts(self) -> list[str]:
        return self.body.get("input") or self.body.get("texts") or []


class ProviderServer:
    """`plan` misbehaviours for the next requests; without one a request is answered rightly.

    refuse: a text for which a request is refused with 400. slow_seconds: how long an answer takes.
    """

    def __init__(self, dimensions: int = 8) -> None:
        self.dimensions = dimensions
        self.requests: list[Request] = []
        self.planned: deque[Misbehaviour] = deque()
        self.always: Misbehaviour | None = None
        self.refuse: Callable[[str], bool] = lambda _: False
        self.slow_seconds = 0.0
        self.says_usage = True
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                provider._serve(self)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def plan(self, *misbehaviours: Misbehaviour) -> None:
        self.planned.extend(misbehaviours)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        request = Request(handler.path, dict(handler.headers), body, time.monotonic())
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            wrong = self.planned.popleft() if self.planned else self.always or Misbehaviour()
        try:
            self._answer(handler, request, wrong)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away, which some tests want
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(
        self, handler: BaseHTTPRequestHandler, request: Request, wrong: Misbehaviour
    ) -> None:
        if wrong.hang:
            self._closing.wait()
            handler.close_connection = True
            return
        time.sleep(self.slow_seconds)
        if wrong.status is not None:
            _send(handler, wrong.status, wrong.body.encode(), wrong.headers)
            return
        if wrong.raw is not None:
            _send(handler, 200, wrong.raw)
            return
        if bad := [text for text in request.texts if self.refuse(text)]:
            error = {"error": {"message": f"invalid input ({len(bad)})", "code": "invalid"}}
            _send(handler, 400, json.dumps(error).encode())
            return
        answer = self._cohere(request) if "texts" in request.body else self._openai(request)
        if wrong.change is not None:
            answer = wrong.change(answer)
        content = json.dumps(answer).encode()
        if wrong.half:
            handler.send_response(200)
            handler.send_header("content-length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
            return
        _send(handler, 200, content)

    def _openai(self, request: Request) -> dict[str, Any]:
        data = []
        for index, text in enumerate(request.texts):
            vector = vector_of(text, self.dimensions)
            in_base64 = request.body.get("encoding_format") == "base64"
            data.append(
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                    if in_base64
                    else [float(number) for number in vector],
                }
            )
        answer: dict[str, Any] = {"object": "list", "data": data, "model": request.body["model"]}
        if self.says_usage:
            tokens = sum(len(text.split()) for text in request.texts)
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return answer

    def _cohere(self, request: Request) -> dict[str, Any]:
        rows = [vector_of(text, self.dimensions).tolist() for text in request.texts]
        return {"id": "1", "texts": request.texts, "embeddings": {"float": rows}, "meta": {}}


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes,
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
