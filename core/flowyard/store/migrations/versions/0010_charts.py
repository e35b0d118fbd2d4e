"""Indexes in which charts count runs, and the one of the log lines of a task run."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_STATE = ("state_type", "state_name")
_COUNTED = ("expected_start_time", "start_time", "total_run_time")


def upgrade() -> None:
    """Create them."""
    more = ("tags",) if op.get_context().dialect.name == "sqlite" else ()
    op.drop_index("ix_flow_run__state_name", "flow_run")
    op.create_index("ix_flow_run__state_name", "flow_run", [*_STATE, *_COUNTED, *more])
    op.create_index("ix_task_run__state_name", "task_run", ["flow_run_id", *_STATE, *_COUNTED])
    of_task = sa.text("task_run_id IS NOT NULL")
    op.create_index("ix_log__task_run_id", "log", ["task_run_id", "id"], sqlite_where=of_task)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_log__task_run_id", "log")
    op.drop_index("ix_task_run__state_name", "task_run")
    op.drop_index("ix_flow_run__state_name", "flow_run")
    op.create_index("ix_flow_run__state_name", "flow_run", list(_STATE))
