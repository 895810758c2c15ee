"""Gives everybody a personal project, and every key, record and rollup its project."""

from django.conf import settings
from django.db import migrations
from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce


def give_projects(apps, schema_editor):
    User = apps.get_model(settings.AUTH_USER_MODEL)
    Project = apps.get_model("apikeys", "Project")
    Membership = apps.get_model("apikeys", "Membership")
    ApiKey = apps.get_model("apikeys", "ApiKey")
    for user_id in User.objects.filter(personal_project=None).values_list("pk", flat=True):
        project = Project.objects.create(personal_of_id=user_id)
        Membership.objects.create(project=project, user_id=user_id, role="owner")
    personal = Project.objects.filter(personal_of=OuterRef("owner")).values("pk")
    ApiKey.objects.filter(project=None).update(project=Subquery(personal))
    of_key = Subquery(ApiKey.objects.filter(pk=OuterRef("key")).values("project"))
    of_user = Subquery(Project.objects.filter(personal_of=OuterRef("user")).values("pk"))
    for name in ("UsageRecord", "UsageRollup"):
        # 0: of somebody who is gone.
        apps.get_model("apikeys", name).objects.filter(project=None).update(
            project=Coalesce(of_key, of_user, Value(0))
        )


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0002_projects"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [migrations.RunPython(give_projects, migrations.RunPython.noop)]
