"""For administrators: what binds one person, in all projects and in the playground."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apikeys import people
from apikeys.models import UserLimits
from console.forms.people import PersonLimitsForm
from console.models import User
from console.requests import PersonRequest, actor_of, administrator_required


@administrator_required
@require_http_methods(["GET", "HEAD", "POST"])
def person_limits(request: PersonRequest, user_id: int) -> HttpResponse:
    person = get_object_or_404(User, pk=user_id)
    limits = UserLimits.objects.filter(user=person).first() or UserLimits(user=person)
    form = PersonLimitsForm(request.POST or None, instance=limits)
    if request.method == "POST" and form.is_valid():
        people.set_limits(person, form.cleaned_data, by=actor_of(request))
        messages.success(request, _("The limits of %s are saved.") % person)
        return redirect("console:people")
    context = {"person": person, "form": form}
    return render(request, "console/person_limits.html", context, status=400 if form.errors else 200)
