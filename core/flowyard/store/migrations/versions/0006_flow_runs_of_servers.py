"""What servers know of flow runs, and the index of states."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, Json, PlainText, Timestamp

revision = "0006"
down_revision = "0005"

_COLUMNS = (
    ("deployment_version", PlainText()),
    ("work_queue_id", Identifier()),
    ("work_queue_name", PlainText()),
    ("auto_scheduled", sa.Boolean()),
    ("infrastructure_document_id", Identifier()),
    ("created_by", Json()),
    ("job_variables", Json()),
)
_ORDERS = {
    "ix_flow_run__name": "name",
    "ix_flow_run__expected_start_time": "expected_start_time",
    "ix_flow_run__start": sa.text("coalesce(start_time, expected_start_time)"),
    "ix_flow_run__end_time": "end_time",
}
_PARTIAL = {
    "work_queue_id": "next_scheduled_start_time",
    "deployment_id": "id",
    "next_scheduled_start_time": "id",
}


def upgrade() -> None:
    """Create them."""
    for name, kind in _COLUMNS:
        op.add_column("flow_run", sa.Column(name, kind))
    for name, column in _ORDERS.items():
        op.create_index(name, "flow_run", [column, "id"])
    for column, then in _PARTIAL.items():
        is_there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_flow_run__{column}", "flow_run", [column, then], sqlite_where=is_there)
    op.create_index("ix_flow_run__state_name", "flow_run", ["state_type", "state_name"])
    if op.get_context().dialect.name == "sqlite":
        op.drop_index("ix_flow_run__state_type", "flow_run")
        op.create_index("ix_flow_run__state_type", "flow_run", ["state_type", "id", "tags"])
    else:
        op.execute("CREATE INDEX ix_flow_run__tags ON flow_run USING gin (tags jsonb_path_ops)")
    op.create_index("ix_flow_run_state__id", "flow_run_state", ["id"])
    op.create_table(
        "flow_run_input",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("flow_run_id", Identifier(), nullable=False),
        sa.Column("key", PlainText(), nullable=False),
        sa.Column("value", PlainText(), nullable=False),
        sa.Column("sender", PlainText()),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("flow_run_id", "key", name="uq_flow_run_input__flow_run_id_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run_key",
        sa.Column("flow_run_id", Identifier(), primary_key=True),
        sa.Column("task_key", PlainText(), primary_key=True),
        sa.Column("dynamic_key", PlainText(), primary_key=True),
        sa.Column("task_run_id", Identifier(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run_state_cache",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("cache_key", PlainText(), nullable=False),
        sa.Column("cache_expiration", Timestamp()),
        sa.Column("task_run_id", Identifier(), nullable=False),
        sa.Column("task_run_state_id", Identifier(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_run_state_cache__cache_key", "task_run_state_cache", ["cache_key", "id"])


def downgrade() -> None:
    """Drop them."""
    for table in ("task_run_state_cache", "task_run_key", "flow_run_input"):
        op.drop_table(table)
    op.drop_index("ix_flow_run_state__id", "flow_run_state")
    if op.get_context().dialect.name == "sqlite":
        op.drop_index("ix_flow_run__state_type", "flow_run")
        op.create_index("ix_flow_run__state_type", "flow_run", ["state_type", "id"])
    else:
        op.drop_index("ix_flow_run__tags", "flow_run")
    op.drop_index("ix_flow_run__state_name", "flow_run")
    for name in (*_ORDERS, *[f"ix_flow_run__{column}" for column in _PARTIAL]):
        op.drop_index(name, "flow_run")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("flow_run", name)
