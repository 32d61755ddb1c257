"""Opens the database that the settings name: the bundled server or another one, checked and
migrated."""

from __future__ import annotations

from lib.settings import Settings
from lib.store import checks, embedded, migrations
from lib.store.database import Database
from lib.store.url import database_url


def open_database(settings: Settings, *, migrate: bool = True) -> Database:
    """Starts the bundled server where DATABASE_URL is not set, checks the server, migrates.

    Raises VecscopeError: what stands in the way, in one sentence.
    """
    server = None
    if settings.database_url is None:
        server = embedded.start_embedded(settings.home)
        url = server.url
    else:
        url = database_url(settings.database_url.get_secret_value())
    try:
        checks.check_server(url)
        if migrate:
            migrations.migrate(url)
    except BaseException:
        if server is not None:
            server.release()
        raise
    return Database(url, pool_size=settings.pool_size, embedded=server)
