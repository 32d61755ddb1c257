"""Every function that writes is registered and takes an actor, and hands it on."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from lib.actors import LOCAL, Actor, writers, writes

ROOT = Path(__file__).resolve().parents[2]
# `lib.vectors` knows no users: it does what its callers were asked to do. Pages and commands call
# the writers.
LEFT_OUT = ("lib.vectors", "lib.ui", "lib.cli")
# Steps of a registered write, and bookkeeping that nobody asks for.
STEPS = {
    "lib.ingest.load": "the batches of a load",
    "lib.ingest.load.ReplaceAllTracker": "the end of a load",
    "lib.lab.candidates.build_candidate": "a step of start_candidate_builds and of an experiment",
    "lib.lab.candidates.clean_interrupted": "what a dead process left, at the next start",
    "lib.lab.repository.make_experiment": "a step of start_experiment",
    "lib.lab.repository.forget_measurements": "a step of resume_experiment",
    "lib.lab.repository": "what an experiment that runs notes down",
    "lib.lab.truth": "true neighbours, stored so that they are not computed again",
    "lib.store.collections.drop_candidates": "a step of drop_collection and of start_switch",
    "lib.store.collections.mark_changed": "a step of each write to documents",
    "lib.store.jobs.JobContext": "a job's own progress",
    "lib.store.jobs.Jobs.recover": "jobs of dead processes",
    "lib.store.jobs.Jobs.start": "takes the actor of the write that starts a job, and records it",
}
SQL = re.compile(
    r"\s*(INSERT INTO|UPDATE [a-z{]|DELETE FROM|TRUNCATE |CREATE (TABLE|INDEX|TRIGGER|FUNCTION)"
    r"|DROP (TABLE|INDEX|TRIGGER|FUNCTION)|ALTER TABLE|COPY [a-z{])"
)
CALLS = {"insert", "update", "delete"}
METHODS = {"db.add", "db.delete", "jobs.start"}

Function = ast.AsyncFunctionDef | ast.FunctionDef


def modules() -> list[str]:
    names = []
    for path in sorted((ROOT / "lib").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(LEFT_OUT):
            names.append(name)
    return names


def source_of(module: str) -> str:
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.read_text("utf-8")


def functions(tree: ast.Module) -> dict[str, Function]:
    """By qualified name: of the module, and of its classes."""
    found: dict[str, Function] = {}
    for node in tree.body:
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{m.name}": m for m in node.body if isinstance(m, Function)}
    return found


def writes_itself(function: Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS | METHODS:
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            return True
    return False


def public_writers(source: str) -> set[str]:
    """The public async functions that write, themselves or by private ones of their module."""
    defined = functions(ast.parse(source))
    written = {name for name, function in defined.items() if writes_itself(function)}
    while True:
        private = {name.split(".")[-1] for name in written if name.split(".")[-1].startswith("_")}
        more = {
            name
            for name, function in defined.items()
            if any(
                isinstance(node, ast.Call)
                and ast.unparse(node.func).removeprefix("self.") in private
                for node in ast.walk(function)
            )
        }
        if more <= written:
            break
        written |= more
    return {
        name
        for name in written
        if isinstance(defined[name], ast.AsyncFunctionDef)
        and not any(part.startswith("_") for part in name.split("."))
    }


def is_step(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in STEPS for count in range(1, len(parts) + 1))


@pytest.fixture(scope="module")
def registered() -> dict[str, str]:
    for module in modules():
        if "@writes(" in source_of(module):
            importlib.import_module(module)
    return dict(writers())


def test_every_public_function_that_writes_is_registered(registered):
    missing = [
        f"{module}.{name}"
        for module in modules()
        for name in sorted(public_writers(source_of(module)))
        if f"{module}.{name}" not in registered and not is_step(f"{module}.{name}")
    ]
    assert missing == []


def test_the_writers_that_there_are(registered):
    """So that a new one is seen in a review; its action is what a role will allow."""
    assert sorted(set(registered.values())) == [
        "bm25.build",
        "bm25.drop",
        "candidates.build",
        "candidates.drop",
        "collections.create",
        "collections.drop",
        "documents.create",
        "documents.delete",
        "documents.embed",
        "documents.export",
        "documents.load",
        "experiments.delete",
        "experiments.rename",
        "experiments.start",
        "indexes.build",
        "indexes.drop",
        "jobs.cancel",
        "projections.build",
        "projections.delete",
        "projections.place",
        "query_sets.drop",
        "query_sets.save",
        "reembeddings.discard",
        "reembeddings.start",
        "reembeddings.switch",
        "saved_searches.delete",
        "saved_searches.save",
    ]


def test_a_writer_that_calls_another_hands_its_actor_on(registered):
    """Also where a private function or a job's work is between them."""
    names = {name.split(".")[-1] for name in registered if not name.split(".")[-2][0].isupper()}
    silent = []
    for module in modules():
        for node in ast.walk(ast.parse(source_of(module))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            is_writer = isinstance(node.func, ast.Name) and node.func.id in names
            is_method = called in {
                "jobs.start",
                "documents.load",
                "documents.create",
                "documents.backfill_embeddings",
            }
            if (is_writer or is_method) and "actor" not in {key.arg for key in node.keywords}:
                silent.append(f"{module}:{node.lineno} {called}")
    assert silent == []


@pytest.mark.parametrize(
    "body",
    [
        "await db.execute(insert(Record))",
        "await db.execute(text('DELETE FROM t'))",
        "await db.execute(text(f'DROP TABLE {name}'))",
        "return await jobs.start(kind)",
        "db.add(record)",
        "await _inner(db)",
    ],
)
def test_what_counts_as_writing(body):
    source = f"async def act(db):\n    {body}\nasync def _inner(db):\n    update(Record)\n"
    assert public_writers(source) == {"act"}
    assert public_writers("async def ask(db):\n    await db.execute(select(Record))\n") == set()


def test_a_writer_without_an_actor_is_refused():
    for signature in ("db", "db, actor=None", "db, actor", "db, *, actor=None"):
        scope: dict[str, object] = {}
        exec(f"async def act({signature}): ...", scope)
        with pytest.raises(TypeError, match="takes no keyword actor"):
            writes("things.do")(scope["act"])


async def test_the_function_gets_the_actor_that_it_was_called_with():
    async def act(value: int, *, actor: Actor = LOCAL) -> tuple[int, str]:
        return value, actor.name

    before = dict(writers())
    registered = writes("things.do")(act)
    try:
        assert await registered(1) == (1, "local")
        assert await registered(2, actor=Actor("ada")) == (2, "ada")
        assert inspect.signature(registered) == inspect.signature(act)
        (name,) = writers().keys() - before.keys()
        assert name.endswith("<locals>.act")
    finally:
        from lib import actors

        for name in writers().keys() - before.keys():
            actors._writers.pop(name)
