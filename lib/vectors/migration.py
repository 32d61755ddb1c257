"""An index as an Alembic migration, for people who keep their schema by Alembic."""

from __future__ import annotations

import ast
from datetime import UTC, datetime

from sqlalchemy import Index
from sqlalchemy.dialects import postgresql

from lib.vectors.ddl import make_index
from lib.vectors.index_methods import IndexSpec
from lib.vectors.table import VectorTable


def migration_text(
    table: VectorTable,
    spec: IndexSpec,
    *,
    name: str | None = None,
    revision: str | None = None,
    down_revision: str | None = None,
    created: datetime | None = None,
) -> str:
    """An Alembic migration that builds the index without locking writers, and its way back."""
    return index_migration(
        make_index(table, spec, name, concurrently=True),
        f"{spec.method.label} index on {table.qualified_name}.{table.embedding}",
        revision=revision,
        down_revision=down_revision,
        created=created,
    )


def index_migration(
    index: Index,
    title: str,
    *,
    revision: str | None = None,
    down_revision: str | None = None,
    created: datetime | None = None,
) -> str:
    """The migration of any SQLAlchemy index that is built CONCURRENTLY.

    CONCURRENTLY cannot run in a transaction, hence the autocommit block.
    """
    # Only where a migration is written: Alembic takes a while to import.
    from alembic.operations.ops import CreateIndexOp, DropIndexOp

    created = created or datetime.now(UTC)
    create = _rendered(CreateIndexOp.from_index(index))
    drop = _rendered(DropIndexOp.from_index(index))
    needs = "import sqlalchemy as sa\n" if "sa." in create else ""
    # Names go in by repr; in the docstring nothing may end it.
    title = title.replace("\\", "\\\\").replace('"', '\\"')
    return f'''"""{title}"""

{needs}from alembic import op

revision = {revision or created.strftime("%Y%m%d%H%M%S")!r}
down_revision = {down_revision!r}  # set this to your latest revision
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
{create}


def downgrade() -> None:
    with op.get_context().autocommit_block():
{drop}
'''


def _rendered(operation: object) -> str:
    """Alembic's own code for an operation on PostgreSQL, an argument a line.

    The dialect is PostgreSQL's, since another one cannot compile the type of an index on bits.
    """
    from alembic.autogenerate import render_python_code
    from alembic.migration import MigrationContext
    from alembic.operations.ops import MigrateOperation, UpgradeOps

    assert isinstance(operation, MigrateOperation)
    # A paramstyle without “%”, which the compiler would double in names.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    context = MigrationContext.configure(dialect=dialect)
    code: str = render_python_code(UpgradeOps([operation]), migration_context=context)
    module = ast.parse("if True:\n    " + code)  # Alembic indents it as the body of a function
    call = next(node for node in ast.walk(module) if isinstance(node, ast.Call))
    arguments = [ast.unparse(argument) for argument in call.args]
    arguments += [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in call.keywords]
    lines = [f"{' ' * 12}{argument}," for argument in arguments]
    return "\n".join([f"{' ' * 8}{ast.unparse(call.func)}(", *lines, f"{' ' * 8})"])
