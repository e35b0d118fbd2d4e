"""Makes the tables of Prefect 2 in a PostgreSQL without the extension `pg_trgm`, which wheels of it do not have.

Left out are Prefect's trigram indexes, which its searches by a part of a name use and nothing here does: it writes a
little less than elsewhere.
"""

from __future__ import annotations

import importlib
from typing import Any


def main() -> None:
    sqlalchemy: Any = importlib.import_module("sqlalchemy")

    @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute", retval=True)
    def without_trigrams(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> Any:
        del connection, cursor, rest
        return ("SELECT 1" if "trgm" in statement else statement), parameters

    commands: Any = importlib.import_module("prefect.server.database.alembic_commands")
    commands.alembic_upgrade()


if __name__ == "__main__":
    main()
