"""Forms about projects and their members."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apikeys.bounds import LIMIT_NAMES
from apikeys.models import Membership, Project
from apikeys.models.projects import ROLES
from apikeys.projects import ProjectSettings
from apikeys.roles import may_give
from console.forms.limits import LimitsForm
from console.projects import Place


class NewProjectForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new project is called."""

    class Meta:
        model = Project
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = True
        self.fields["name"].label = _("Name")


class ProjectForm(LimitsForm):
    """A project's settings and limits. Who is served first is for administrators to say; a personal
    project has no name of its own."""

    class Meta:
        model = Project
        fields = ("name", "tier", "keeps_content", *LIMIT_NAMES)
        labels = {
            "name": _("Name"),
            "tier": _("Tier under load"),
            "keeps_content": _("Keep what requests and answers say, encrypted"),
        }

    def __init__(self, *args: Any, administrator: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.personal_of_id is not None:
            del self.fields["name"]
        else:
            self.fields["name"].required = True
        if not administrator:
            del self.fields["tier"]

    def settings(self) -> ProjectSettings:
        return cast(ProjectSettings, self.cleaned_data)


class RoleForm(forms.Form):
    """The role that somebody is to have."""

    role = forms.ChoiceField(label=_("Role"), choices=ROLES, initial="member")


class InviteMemberForm(RoleForm):
    """Whom to invite into a project, and as what."""

    email = forms.EmailField(label=_("Email address"))

    def __init__(self, *args: Any, place: Place, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place = place
        allowed = [(role, label) for role, label in ROLES if may_give(place.role, None, role)]
        self.fields["role"].choices = allowed  # type: ignore[attr-defined]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if Membership.objects.filter(project=self._place.project, user__email__iexact=email).exists():
            raise ValidationError(gettext("%s belongs to this project already.") % email)
        return email
