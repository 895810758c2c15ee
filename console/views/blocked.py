"""For administrators: addresses that nobody may come from."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apikeys import blocking
from apikeys.models import BlockedAddress
from console.forms.blocking import BlockForm
from console.requests import PersonRequest, actor_of, administrator_required


@administrator_required
@require_safe
def blocked_list(request: PersonRequest) -> HttpResponse:
    return _page(request, BlockForm(own_address=actor_of(request).address))


@administrator_required
@require_POST
def block(request: PersonRequest) -> HttpResponse:
    actor = actor_of(request)
    form = BlockForm(request.POST, own_address=actor.address)
    if not form.is_valid():
        return _page(request, form, status=400)
    row = blocking.block(form.cleaned_data["network"], form.cleaned_data["reason"], form.until(), by=actor)
    messages.success(request, _("%s is blocked.") % row.network)
    return redirect("console:blocked")


@administrator_required
@require_POST
def unblock(request: PersonRequest, block_id: int) -> HttpResponse:
    row = get_object_or_404(BlockedAddress, pk=block_id)
    blocking.unblock(row, by=actor_of(request))
    messages.success(request, _("%s is no longer blocked.") % row.network)
    return redirect("console:blocked")


def _page(request: PersonRequest, form: BlockForm, status: int = 200) -> HttpResponse:
    now = timezone.now()
    rows = BlockedAddress.objects.select_related("blocked_by")
    context = {
        "form": form,
        "rows": [(row, blocking.said(row.reason), row.until is None or now < row.until) for row in rows],
        "failures": blocking.FAILURES,
    }
    return render(request, "console/blocked.html", context, status=status)
