"""By which rules an instance was de-identified, so that changed rules find what they would do otherwise."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("rules", sa.String(16), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("instances", "rules")
