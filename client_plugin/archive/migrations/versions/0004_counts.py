"""How many instances a study has at its PACS; storage commitment requests that survive a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "study_counts",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("asked_at", TIME, nullable=True),
        sa.Column("next_ask_at", TIME, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_study_counts_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_study_counts"),
        sa.UniqueConstraint("study_id", name="uq_study_counts_study_id"),
    )
    op.create_table(
        "commitments",
        sa.Column("id", ID, nullable=False),
        sa.Column("peer", sa.String(16), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
    )
    op.create_index("ix_commitments_next_try_at", "commitments", ["next_try_at"])
    op.add_column("study_versions", sa.Column("expected", sa.Integer(), nullable=True))
    op.add_column("study_versions", sa.Column("completeness", sa.String(16), nullable=False, server_default="unknown"))
    op.add_column("quarantine", sa.Column("study_uid", sa.String(64), nullable=True))
    op.create_index("ix_quarantine_study_uid", "quarantine", ["study_uid"])


def downgrade() -> None:
    op.drop_index("ix_quarantine_study_uid", "quarantine")
    op.drop_column("quarantine", "study_uid")
    op.drop_column("study_versions", "completeness")
    op.drop_column("study_versions", "expected")
    op.drop_table("commitments")
    op.drop_table("study_counts")
