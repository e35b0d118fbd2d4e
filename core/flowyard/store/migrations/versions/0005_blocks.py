"""Block types, schemas and documents, and facts about the database."""

import sqlalchemy as sa
from alembic import op

from flowyard.store.types import Identifier, Json, PlainText, Timestamp

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "block_type",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("slug", PlainText(), nullable=False),
        sa.Column("logo_url", PlainText()),
        sa.Column("documentation_url", PlainText()),
        sa.Column("description", PlainText()),
        sa.Column("code_example", PlainText()),
        sa.Column("is_protected", sa.Boolean(), nullable=False),
        sa.Column("origin", PlainText()),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("slug", name="uq_block_type__slug"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "block_schema",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("checksum", PlainText(), nullable=False),
        sa.Column("fields", Json(), nullable=False),
        sa.Column("capabilities", Json(), nullable=False),
        sa.Column("version", PlainText(), nullable=False),
        sa.Column("block_type_id", Identifier(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("checksum", "version", name="uq_block_schema__checksum_version"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_block_schema__block_type_id", "block_schema", ["block_type_id", "id"])
    op.create_table(
        "block_document",
        sa.Column("id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), nullable=False),
        sa.Column("block_type_id", Identifier(), nullable=False),
        sa.Column("block_schema_id", Identifier(), nullable=False),
        sa.Column("data", Json(), nullable=False),
        sa.Column("encrypted_data", sa.Text()),
        sa.Column("secret_paths", Json(), nullable=False),
        sa.Column("is_anonymous", sa.Boolean(), nullable=False),
        sa.Column("created", Timestamp(), nullable=False),
        sa.Column("updated", Timestamp(), nullable=False),
        sa.UniqueConstraint("block_type_id", "name", name="uq_block__type_id_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "block_document_reference",
        sa.Column("parent_block_document_id", Identifier(), primary_key=True),
        sa.Column("name", PlainText(), primary_key=True),
        sa.Column("reference_block_document_id", Identifier(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_block_document_reference__reference", "block_document_reference", ["reference_block_document_id"]
    )
    op.create_table(
        "configuration",
        sa.Column("key", PlainText(), primary_key=True),
        sa.Column("value", Json(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("configuration", "block_document_reference", "block_document", "block_schema", "block_type"):
        op.drop_table(table)
