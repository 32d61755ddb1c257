"""What lib.vectors offers the outside, and what it does not know."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import lib.vectors
from lib.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "lib" / "vectors"


@pytest.mark.parametrize("name", lib.vectors.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(lib.vectors, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert inspect.getdoc(value), f"{name} has no docstring"
    else:  # a value or an alias: its type says it
        assert name in {"HNSW", "IVFFLAT", "FloatArray"}


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.asname)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib.vectors.")
        for alias in node.names
    }
    offered = {
        (f"lib.vectors.{module}", name)
        for module, names in lib.vectors._NAMES.items()
        for name in names
    }
    assert seen == offered
    assert len(lib.vectors.__all__) == len(set(lib.vectors.__all__))


def test_another_name_is_none_of_it() -> None:
    with pytest.raises(AttributeError, match=r"lib\.vectors has no name"):
        _ = lib.vectors.surely_not_there


def test_it_knows_no_application() -> None:
    """In a process of its own: everything is loaded, and neither Streamlit nor a store."""
    code = (
        "import sys, lib.vectors\n"
        "for name in lib.vectors.__all__: getattr(lib.vectors, name)\n"
        "print(sorted({m for m in sys.modules if m.split('.')[0] in ('streamlit', 'alembic')"
        " or m.startswith('lib.')"
        " and not m.startswith(('lib.vectors', 'lib.errors', 'lib.limits'))}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "[]"


def test_one_module_does_not_load_all() -> None:
    code = "import sys, lib.vectors.distance; print('lib.vectors.search' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "False"
