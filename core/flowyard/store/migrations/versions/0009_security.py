"""API keys."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, PlainText, Timestamp

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "api_key",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("scope", PlainText(), nullable=False),
        sa.Column("prefix", PlainText(), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("expires", Timestamp()),
        sa.Column("revoked", Timestamp()),
        sa.UniqueConstraint("prefix", name="uq_api_key__prefix"),
        sa.UniqueConstraint("name", name="uq_api_key__name"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("api_key")
