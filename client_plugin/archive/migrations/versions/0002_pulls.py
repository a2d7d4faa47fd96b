"""The job table of the puller; a study's count is now compared by its pull."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
UID_OR_NAME = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "pulls",
        sa.Column("id", ID, nullable=False),
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("study_digest", UID_OR_NAME, nullable=False),
        sa.Column("study_uid", UID_OR_NAME, nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("here", sa.Integer(), nullable=False),
        sa.Column("reason", UID_OR_NAME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pulls"),
        sa.UniqueConstraint("study_digest", name="uq_pulls_study_digest"),
    )
    op.create_index("ix_pulls_job", "pulls", ["job"])
    op.create_index("ix_pulls_queue", "pulls", ["state", "next_try_at"])
    op.create_index("ix_pulls_study_uid", "pulls", ["study_uid"])
    op.drop_column("studies", "expected_instances")
