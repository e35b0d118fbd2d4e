"""The flow runs of a tag, which are in a table on SQLite; PostgreSQL has an index of tags."""

from alembic import op

revision = "0011"
down_revision = "0010"

_REMOVE = "DELETE FROM flow_run_tag WHERE flow_run_id = old.id AND tag IN (SELECT value FROM json_each(old.tags))"


def upgrade() -> None:
    """Create it, with the tags of the runs that are there."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.execute(
        "CREATE TABLE flow_run_tag (tag TEXT NOT NULL, flow_run_id BLOB NOT NULL, PRIMARY KEY (tag, flow_run_id)) "
        "WITHOUT ROWID"
    )
    op.execute(
        "INSERT INTO flow_run_tag SELECT DISTINCT value, flow_run.id FROM flow_run, json_each(flow_run.tags) "
        "WHERE flow_run.tags <> '[]'"
    )
    op.execute(
        "CREATE TRIGGER flow_run_tag__update AFTER UPDATE OF tags ON flow_run WHEN new.tags <> old.tags "
        f"BEGIN {_REMOVE}; INSERT INTO flow_run_tag SELECT DISTINCT value, new.id FROM json_each(new.tags); END"
    )
    op.execute(
        f"CREATE TRIGGER flow_run_tag__delete AFTER DELETE ON flow_run WHEN old.tags <> '[]' BEGIN {_REMOVE}; END"
    )


def downgrade() -> None:
    """Drop it."""
    if op.get_context().dialect.name == "sqlite":
        for what in ("update", "delete"):
            op.execute(f"DROP TRIGGER flow_run_tag__{what}")
        op.execute("DROP TABLE flow_run_tag")
