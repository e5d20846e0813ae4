"""Runs the migrations, on the store's own connection or, for developers, on a URL.

``turnstore.sql.migrations`` gives the connection, in a transaction that excludes other
writers. By hand: ``alembic -x url=sqlite:///some.db revision --autogenerate -m "…"``.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine

from turnstore.sql.migrations import is_of, is_ours
from turnstore.sql.schema import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=is_ours,
        include_object=is_of(connection.dialect.name),
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def write(dialect: str) -> None:
    """Write the SQL to the configuration's buffer; connects to nothing."""
    context.configure(
        dialect_name=dialect,
        target_metadata=metadata,
        literal_binds=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Any = context.config.attributes.get("connection")
if given is not None:
    run(given)
elif context.is_offline_mode():
    write(context.config.attributes["dialect"])
else:
    url = context.get_x_argument(as_dictionary=True)["url"]
    with create_engine(url).connect() as opened:
        run(opened)
