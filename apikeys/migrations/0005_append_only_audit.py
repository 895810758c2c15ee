"""The database refuses to change or delete what the audit log says.

SQLite drops triggers with the table when a migration rebuilds it: one that alters AuditEntry there must
run ``protect`` again at its end.
"""

from django.db import migrations

SQLITE = """
CREATE TRIGGER audit_{event} BEFORE {event} ON apikeys_auditentry
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
POSTGRESQL = [
    """
    CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_update BEFORE UPDATE OR DELETE ON apikeys_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()
    """,
    """
    CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON apikeys_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """,
]


def protect(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        statements = POSTGRESQL
    else:
        statements = [SQLITE.format(event=event) for event in ("update", "delete")]
    for statement in statements:
        schema_editor.execute(statement)


def unprotect(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_is_append_only() CASCADE")
        return
    for event in ("update", "delete"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS audit_{event}")


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0004_projects_required")]

    operations = [migrations.RunPython(protect, unprotect)]
