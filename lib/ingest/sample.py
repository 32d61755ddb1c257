"""The sample: documentation that is on this machine anyway, read from Python's own sources.

Docstrings of the standard library and of well-known packages that Vecscope's requirements bring,
found by ``ast``: nothing is imported or run, and nothing comes from the network.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path

from lib.ingest.incoming import IncomingDocument

SAMPLE_NAME = "Python documentation"
"""What the sample's collection is called where nobody says otherwise."""

MAX_PER_PACKAGE = 400
"""Only the standard library is read whole: the example questions are about it."""

MIN_CHARACTERS = 80

SAMPLE_QUESTIONS = (
    "wait for coroutines to finish, with a timeout",
    "What is the median of some numbers?",
    "get the source code of a function",
    "extract all members of a zip archive",
    "is this IP address in a private network?",
    "rotate log files at midnight",
)
"""Questions that the standard library answers, so that they work in any environment: asyncio,
statistics, inspect, zipfile, ipaddress, logging."""

# Modules of the standard library with enough documentation for a category of their own; all
# others are in "stdlib".
_STDLIB_CATEGORIES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "inspect",
    "json",
    "logging",
    "threading",
    "typing",
    "unittest",
    "urllib",
    "xml",
)
_STDLIB = "stdlib"

_PACKAGES = (
    "PIL",
    "aiohttp",
    "alembic",
    "altair",
    "click",
    "fsspec",
    "httpx",
    "huggingface_hub",
    "jinja2",
    "narwhals",
    "numba",
    "numpy",
    "pandas",
    "plotly",
    "psycopg",
    "pydantic",
    "requests",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "streamlit",
    "structlog",
    "umap",
    "websockets",
)

# Copies of other packages, tests, generated or outdated code; and tkinter, a window toolkit, whose
# many short texts on "text" and "file" would be the answer to every question.
_LEFT_OUT = frozenset(
    {
        *("test", "tests", "testing", "conftest", "externals", "vendor", "vendored"),
        *("_vendor", "_vendored", "site-packages", "dist-packages", "__pycache__"),
        *("distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo"),
        *("tkinter", "turtle", "graph_objs", "validators", "legacy", "v1"),
    }
)

# Python's compiler warns of odd escapes in other people's code. The filter is for the file name
# that only this module gives, and set once: catch_warnings is not safe with threads.
_FILE_NAME = "<vecscope-sample>"
warnings.filterwarnings("ignore", module=re.escape(_FILE_NAME))

# Filled in when the module runs: pandas and others make docstrings so.
_TEMPLATE = re.compile(r"%\(\w+\)s|\{(?:klass|name|desc)\}")

_Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Module:
    name: str  # dotted
    path: Path


def sample_documents(limit: int | None = None) -> Iterator[IncomingDocument]:
    """The sample's documents, the categories in turn, so that any first part is a fair choice.

    A document is one docstring of at least MIN_CHARACTERS of a public module, class, method or
    function, with the qualified name above it: external_id "asyncio.tasks.gather", title the
    docstring's summary, category the package, metadata ``module``, ``kind``, ``line`` and, for
    functions, ``signature``. Texts that repeat and templates are left out; a package ends at
    MAX_PER_PACKAGE. Order and content are the same each time on the same machine; files are
    read as documents are asked for. Files that this Python cannot parse have no documents.
    """
    waiting = {
        category: chain.from_iterable(map(partial(_module_documents, category), modules))
        for category, modules in _categories().items()
    }
    counts = dict.fromkeys(waiting, 0)
    seen: set[str | bytes] = set()
    total = 0
    while waiting:
        for category in list(waiting):
            if total == limit:
                return
            document = _next_new(waiting[category], seen)
            if document is None or (category in _PACKAGES and counts[category] == MAX_PER_PACKAGE):
                del waiting[category]
                continue
            counts[category] += 1
            total += 1
            yield document


def _next_new(
    documents: Iterator[tuple[IncomingDocument, bytes]], seen: set[str | bytes]
) -> IncomingDocument | None:
    for document, text_hash in documents:
        # One name can be defined twice, in the two branches of an if.
        if document.external_id not in seen and text_hash not in seen:
            seen.update((document.external_id, text_hash))
            return document
    return None


def _categories() -> dict[str, list[_Module]]:
    categories: dict[str, list[_Module]] = {}
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    for module in _modules(stdlib, ""):
        top = module.name.split(".")[0]
        categories.setdefault(top if top in _STDLIB_CATEGORIES else _STDLIB, []).append(module)
    for package in _PACKAGES:
        spec = PathFinder.find_spec(package)  # of a top-level name: imports nothing
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            categories.setdefault(package, []).extend(_modules(Path(folder), package))
    # Spread over all of a package, not the first of its modules by name; the same each time.
    for modules in categories.values():
        modules.sort(key=lambda module: hashlib.blake2b(module.name.encode()).digest())
    return dict(sorted(categories.items()))


def _modules(folder: Path, package: str) -> Iterator[_Module]:
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        # Packages export what their private modules define; the standard library does so rarely.
        private = not package and any(part.startswith("_") and part != "__init__" for part in parts)
        if _LEFT_OUT.isdisjoint(parts) and not private and not parts[-1].startswith("test_"):
            names = [package, *parts] if package else list(parts)
            yield _Module(".".join(name for name in names if name != "__init__"), path)


def _module_documents(category: str, module: _Module) -> list[tuple[IncomingDocument, bytes]]:
    """All of a module's documents, each with a hash of its docstring.

    A list and no generator: a syntax tree that waits for its turn costs the garbage collector
    more time than all the parsing (15 s against 6 s in all).
    """
    try:
        tree = ast.parse(module.path.read_bytes(), filename=_FILE_NAME)
    except (SyntaxError, ValueError, RecursionError, OSError):
        return []
    documents = []
    for name, node in _definitions(tree, module.name):
        docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
        if len(docstring) >= MIN_CHARACTERS and not _TEMPLATE.search(docstring):
            text_hash = hashlib.blake2b(docstring.encode(errors="replace")).digest()
            documents.append((_document(category, module, name, node, docstring), text_hash))
    return documents


def _definitions(node: ast.AST, name: str) -> Iterator[tuple[str, _Definition]]:
    """Public definitions at the top and in classes, not those inside functions."""
    if isinstance(node, _Definition):
        yield name, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield from _definitions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _definitions(child, name)


def _document(
    category: str, module: _Module, name: str, node: _Definition, docstring: str
) -> IncomingDocument:
    metadata: dict[str, str | int] = {"module": module.name, "line": getattr(node, "lineno", 1)}
    heading = name
    if isinstance(node, ast.Module):
        metadata["kind"] = "module"
    elif isinstance(node, ast.ClassDef):
        metadata["kind"] = "class"
    else:
        inside = name.removeprefix(module.name + ".")
        metadata["kind"] = "method" if "." in inside else "function"
        metadata["signature"] = f"{node.name}({ast.unparse(node.args)})"
    return IncomingDocument(
        external_id=name,
        title=_summary(docstring) or name,
        # The name first: people search for names too, and few docstrings mention their own.
        content=f"{heading}\n\n{docstring}",
        category=category,
        metadata=metadata,
    )


def _summary(docstring: str) -> str:
    """The first sentence of the first paragraph, or its first line where that is too long."""
    for paragraph in docstring.split("\n\n"):
        if not paragraph.startswith(("..", "!!!", "**", ">>>")):  # notes, not summaries
            lines = [line.strip() for line in paragraph.splitlines()]
            lines = [line for line in lines if any(map(str.isalnum, line))]  # no underlining
            sentence = re.split(r"(?<=\w[.!?])\s", " ".join(lines), maxsplit=1)[0]
            if sentence:
                return sentence if len(sentence) <= 200 else lines[0]
    return ""
