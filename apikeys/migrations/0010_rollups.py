import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Sum
from django.db.models.functions import TruncDay

SUMS = ("requests", "errors", "prompt_tokens", "completion_tokens", "duration_ms")
SAME = ("source", "model")
CALLER = ("user_id", "project_id", "key_id")


def convert(apps, schema_editor):
    """Hours become hours and days, of each caller and of everybody. There were no sketches to take along."""
    old = apps.get_model("apikeys", "OldRollup")
    new = apps.get_model("apikeys", "UsageRollup")
    for width, start in (("hour", F("hour")), ("day", TruncDay("hour"))):
        for caller in (CALLER, ()):
            rows = old.objects.values(*caller, *SAME, start=start).annotate(
                **{f"sum_{name}": Sum(name) for name in SUMS}
            )
            new.objects.bulk_create(
                (_row(new, width, row, caller) for row in rows.order_by().iterator()), batch_size=500
            )


def _row(model, width, row, caller):
    whose = {name: row.get(name) for name in CALLER}
    sums = {name: row[f"sum_{name}"] for name in SUMS}
    parts = (width, row["start"].isoformat(), *whose.values(), row["source"], row["model"])
    # As apikeys.usage.rollups.Whose.id, so that late records find these.
    identity = uuid.uuid5(uuid.UUID("5f1f4b3e-6a0c-4a57-9d0e-3c1b7f0a9d52"), "|".join(map(str, parts)))
    names = {name: row[name] for name in ("start", *SAME)}
    return model(id=identity, width=width, **whose, **names, **sums)


def reference(to):
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        null=True,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=to,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("apikeys", "0009_costs"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint("usagerollup", "usage_rollup_once"),
        migrations.RemoveIndex("usagerollup", "usage_rollup_hour"),
        migrations.RenameModel("UsageRollup", "OldRollup"),
        migrations.CreateModel(
            name="UsageRollup",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("width", models.CharField(max_length=6)),
                ("start", models.DateTimeField()),
                ("source", models.CharField(max_length=16)),
                ("model", models.CharField(max_length=200)),
                *((name, models.PositiveBigIntegerField(default=0)) for name in SUMS),
                ("cost_nanos", models.PositiveBigIntegerField(default=0)),
                ("compute_us", models.PositiveBigIntegerField(default=0)),
                ("durations", models.BinaryField(default=b"")),
                ("ttfts", models.BinaryField(default=b"")),
                ("key", reference("apikeys.apikey")),
                ("project", reference("apikeys.project")),
                ("user", reference(settings.AUTH_USER_MODEL)),
            ],
            options={
                "verbose_name": "usage rollup",
                "verbose_name_plural": "usage rollups",
                "indexes": [
                    models.Index(fields=["user", "width", "start"], name="rollup_of_user"),
                    models.Index(fields=["project", "width", "start"], name="rollup_of_project"),
                    models.Index(fields=["key", "width", "start"], name="rollup_of_key"),
                    models.Index(fields=["width", "start"], name="rollup_of_time"),
                ],
            },
        ),
        migrations.RunPython(convert, migrations.RunPython.noop),
        migrations.DeleteModel("OldRollup"),
    ]
