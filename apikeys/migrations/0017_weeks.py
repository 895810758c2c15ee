"""Weeks of usage, from its days."""

import uuid
from datetime import timedelta
from itertools import groupby

from django.db import migrations

from apikeys.usage.sketches import Sketch

SUMS = (
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "duration_ms",
    "cost_nanos",
    "compute_us",
)
SKETCHES = ("durations", "ttfts")
CALLER = ("user_id", "project_id", "key_id")
SAME = ("source", "model")


def add_weeks(apps, schema_editor):
    rollups = apps.get_model("apikeys", "UsageRollup")
    days = rollups.objects.filter(width="day").order_by("start").iterator()
    for monday, of_week in groupby(days, lambda day: day.start - timedelta(days=day.start.weekday())):
        weeks = {}
        for day in of_week:
            _add(weeks.setdefault(_whose(day), {}), day)
        rows = [_row(rollups, monday, whose, week) for whose, week in weeks.items()]
        rollups.objects.bulk_create(rows, batch_size=500)


def _whose(day):
    return tuple(getattr(day, name) for name in (*CALLER, *SAME))


def _add(week, day):
    for name in SUMS:
        week[name] = week.get(name, 0) + getattr(day, name)
    for name in SKETCHES:
        week.setdefault(name, Sketch()).merge_packed(bytes(getattr(day, name)))


def _row(model, monday, whose, week):
    parts = (monday.isoformat(), *whose)
    # As apikeys.usage.rollups.Whose.id, so that later records find these.
    identity = uuid.uuid5(
        uuid.UUID("5f1f4b3e-6a0c-4a57-9d0e-3c1b7f0a9d52"), "|".join(map(str, ("week", *parts)))
    )
    values = {**week, **{name: week[name].pack() for name in SKETCHES}}
    named = dict(zip((*CALLER, *SAME), whose, strict=True))
    return model(id=identity, width="week", start=monday, **named, **values)


def remove_weeks(apps, schema_editor):
    apps.get_model("apikeys", "UsageRollup").objects.filter(width="week").delete()


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0016_caches_answers")]
    operations = [migrations.RunPython(add_weeks, remove_weeks)]
