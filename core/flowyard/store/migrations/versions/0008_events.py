"""Events, automations, notification policies, saved searches, and tokens against forged requests."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, Json, PlainText, Timestamp

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "event",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("occurred", Timestamp(), nullable=False),
        sa.Column("event", PlainText(), nullable=False),
        sa.Column("resource_id", PlainText(), nullable=False),
        sa.Column("resource", Json(), nullable=False),
        sa.Column("related", Json(), nullable=False),
        sa.Column("payload", Json(), nullable=False),
        sa.Column("received", Timestamp(), nullable=False),
        sa.Column("recorded", Timestamp(), nullable=False),
        sa.Column("follows", Identifier()),
    )
    op.create_index("ix_event__occurred_id", "event", ["occurred", "id"])
    op.create_index("ix_event__event_occurred_id", "event", ["event", "occurred", "id"])
    op.create_index("ix_event__recorded", "event", ["recorded"])
    op.create_table(
        "event_resource",
        sa.Column("event_id", Identifier(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("resource_id", PlainText(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("occurred", Timestamp(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_resource__resource_id_occurred", "event_resource", ["resource_id", "occurred"])
    op.create_table(
        "automation",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("description", PlainText(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("trigger", Json(), nullable=False),
        sa.Column("actions", Json(), nullable=False),
        sa.Column("actions_on_trigger", Json(), nullable=False),
        sa.Column("actions_on_resolve", Json(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "automation_resource",
        sa.Column("automation_id", Identifier(), primary_key=True),
        sa.Column("resource_id", PlainText(), primary_key=True),
        sa.Column("is_owner", sa.Boolean(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_automation_resource__resource_id", "automation_resource", ["resource_id"])
    op.create_table(
        "flow_run_notification_policy",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("state_names", Json(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("block_document_id", Identifier(), nullable=False),
        sa.Column("message_template", PlainText()),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "saved_search",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("filters", Json(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("name", name="uq_saved_search__name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "csrf_token",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("token", PlainText(), nullable=False),
        sa.Column("client", PlainText(), nullable=False),
        sa.Column("expiration", Timestamp(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("client", name="uq_csrf_token__client"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "csrf_token",
        "saved_search",
        "flow_run_notification_policy",
        "automation_resource",
        "automation",
        "event_resource",
        "event",
    ):
        op.drop_table(table)
