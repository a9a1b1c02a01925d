"""Telemetry windows of past hours are added up into one row each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollups",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("device_class", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "model_digest", "device_class", "at_ms", name=op.f("pk_rollups")),
    )
    op.create_index(op.f("ix_rollups_at_ms"), "rollups", ["at_ms"], unique=False)


def downgrade() -> None:
    op.drop_table("rollups")
