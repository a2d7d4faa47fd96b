"""Run by alembic; the connection, in a transaction and under a lock, comes from `archive.database`."""

from alembic import context

from client_plugin.archive.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
context.run_migrations()
