"""What servers know of flow runs, and the index of states."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create them."""


def downgrade() -> None:
    """Drop them."""
