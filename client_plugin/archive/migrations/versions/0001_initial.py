"""The first tables: patients to instances, labels, the spool and quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
UID_OR_NAME = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column("id", ID, nullable=False),
        sa.Column("pseudonym", UID_OR_NAME, nullable=False),
        sa.Column("forgotten_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_forgotten"),
        sa.UniqueConstraint("pseudonym", name="uq_forgotten_pseudonym"),
    )
    op.create_table(
        "patients",
        sa.Column("id", ID, nullable=False),
        sa.Column("pseudonym", UID_OR_NAME, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_patients"),
        sa.UniqueConstraint("pseudonym", name="uq_patients_pseudonym"),
    )
    op.create_table(
        "studies",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", UID_OR_NAME, nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("description", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("first_received", TIME, nullable=False),
        sa.Column("last_received", TIME, nullable=False),
        sa.Column("expected_instances", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_studies_patient_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("uid", name="uq_studies_uid"),
    )
    op.create_index("ix_studies_patient_id", "studies", ["patient_id"])
    op.create_index("ix_studies_state", "studies", ["state"])

    op.create_table(
        "series",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", UID_OR_NAME, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("body_part", UID_OR_NAME, nullable=False),
        sa.Column("description", sa.String(length=256), nullable=False),
        sa.Column("frame_of_reference_uid", UID_OR_NAME, nullable=False),
        sa.Column("geometry", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_series_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("uid", name="uq_series_uid"),
    )
    op.create_index("ix_series_modality", "series", ["modality"])
    op.create_index("ix_series_study_id", "series", ["study_id"])

    op.create_table(
        "study_versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sealed_at", TIME, nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("digest", UID_OR_NAME, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_study_versions_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_study_versions"),
        sa.UniqueConstraint("study_id", "number", name="uq_study_versions_study_id_number"),
    )
    op.create_table(
        "instances",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", UID_OR_NAME, nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", UID_OR_NAME, nullable=False),
        sa.Column("transfer_syntax_uid", UID_OR_NAME, nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("position", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("orientation", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("pixel_spacing", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("slice_thickness", sa.Double(), nullable=True),
        sa.Column("location", sa.Double(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", UID_OR_NAME, nullable=False),
        sa.Column("archived_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_instances_series_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint("uid", name="uq_instances_uid"),
    )
    op.create_index("ix_instances_series_id", "instances", ["series_id"])

    op.create_table(
        "labels",
        sa.Column("id", ID, nullable=False),
        sa.Column("instance_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", UID_OR_NAME, nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name="fk_labels_instance_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
        sa.UniqueConstraint("instance_id", "number", name="uq_labels_instance_id_number"),
    )
    op.create_index("ix_labels_name", "labels", ["name"])

    op.create_table(
        "received",
        sa.Column("id", ID, nullable=False),
        sa.Column("spool_name", sa.String(length=128), nullable=False),
        sa.Column("uid_digest", UID_OR_NAME, nullable=False),
        sa.Column("content_digest", UID_OR_NAME, nullable=False),
        sa.Column("sop_class_uid", UID_OR_NAME, nullable=False),
        sa.Column("transfer_syntax_uid", UID_OR_NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("source_ae", sa.String(length=16), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=True),
        sa.Column("claimed_at", TIME, nullable=True),
        sa.Column("reason", UID_OR_NAME, nullable=True),
        sa.Column("instance_id", ID, nullable=True),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name="fk_received_instance_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_received"),
        sa.UniqueConstraint("spool_name", name="uq_received_spool_name"),
        sa.UniqueConstraint("uid_digest", name="uq_received_uid_digest"),
    )
    op.create_index("ix_received_instance_id", "received", ["instance_id"])
    op.create_index("ix_received_queue", "received", ["state", "id"])

    op.create_table(
        "series_references",
        sa.Column("id", ID, nullable=False),
        sa.Column("instance_id", ID, nullable=False),
        sa.Column("series_uid", UID_OR_NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_series_references_instance_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_series_references"),
        sa.UniqueConstraint("instance_id", "series_uid", name="uq_series_references_instance_id_series_uid"),
    )
    op.create_index("ix_series_references_series_uid", "series_references", ["series_uid"])

    op.create_table(
        "quarantine",
        sa.Column("id", ID, nullable=False),
        sa.Column("spool_name", sa.String(length=128), nullable=False),
        sa.Column("reason", UID_OR_NAME, nullable=False),
        sa.Column("source_ae", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_at", TIME, nullable=False),
        sa.Column("received_id", ID, nullable=True),
        sa.Column("pseudonym", UID_OR_NAME, nullable=True),
        sa.ForeignKeyConstraint(["received_id"], ["received.id"], name="fk_quarantine_received_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.UniqueConstraint("spool_name", name="uq_quarantine_spool_name"),
    )
    op.create_index("ix_quarantine_pseudonym", "quarantine", ["pseudonym"])
    op.create_index("ix_quarantine_reason", "quarantine", ["reason"])
    op.create_index("ix_quarantine_received_id", "quarantine", ["received_id"])
