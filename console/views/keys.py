"""Minting, listing and revoking one's own keys."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apikeys import keys as issued_keys
from apikeys.models import ApiKey
from console import once
from console.forms import MintForm
from console.requests import PersonRequest, actor_of, person_required
from console.snippets import quick_start
from console.throttle import Limit, throttled


@never_cache
@person_required
@require_http_methods(["GET", "HEAD"])
def key_list(request: PersonRequest) -> HttpResponse:
    return _page(request, MintForm())


@throttled(Limit("mint", "20/h", "user_or_ip"))
@person_required
@require_POST
def mint(request: PersonRequest) -> HttpResponse:
    form = MintForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=400)
    key, plaintext = issued_keys.mint(
        request.user, form.cleaned_data["name"], form.expires_at(), by=actor_of(request)
    )
    once.put(request, "key", {"name": key.name, "plaintext": plaintext})
    return redirect("console:keys")


@person_required
@require_POST
def revoke(request: PersonRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=key_id, owner=request.user)
    issued_keys.revoke(key, by=actor_of(request))
    messages.success(request, _("“%s” is revoked. Calls with it are refused from now on.") % key.name)
    return redirect("console:keys")


def _page(request: PersonRequest, form: MintForm, status: int = 200) -> HttpResponse:
    minted = once.take(request, "key")
    context = {
        "form": form,
        "keys": ApiKey.objects.filter(owner=request.user),
        "minted": minted,
        "snippets": quick_start(request, minted["plaintext"]) if minted else [],
    }
    return render(request, "console/keys.html", context, status=status)
