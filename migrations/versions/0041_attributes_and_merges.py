"""Attributes get types, and a contact that was merged says into whom."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.add_column("contacts", sa.Column("merged_into", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_contacts_merged_into"), "contacts", "contacts", ["merged_into"], ["id"])
    op.create_index(
        "ix_contacts_merged_into", "contacts", ["merged_into"], postgresql_where=sa.text("merged_into IS NOT NULL")
    )
    op.create_table(
        "attribute_definitions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "text",
                "number",
                "date",
                "boolean",
                "choice",
                name="attributekind",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("choices", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_attribute_definitions")),
    )


def downgrade() -> None:
    op.drop_table("attribute_definitions")
    op.drop_index("ix_contacts_merged_into", "contacts")
    op.drop_column("contacts", "merged_into")
