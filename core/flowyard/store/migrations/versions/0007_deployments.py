"""Deployments, their schedules, work pools, queues and workers."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create them."""


def downgrade() -> None:
    """Drop them."""
