"""A project's keys: minting, listing, changing, replacing and revoking them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apikeys import keys as issued_keys
from apikeys import signatures
from apikeys.models import ApiKey
from console import once
from console.forms.keys import KeyForm, RotateForm
from console.projects import Place, choices, chosen_place, place_of
from console.requests import PersonRequest, actor_of, person_required
from console.snippets import quick_start
from console.throttle import Limit, throttled


@never_cache
@person_required
@require_http_methods(["GET", "HEAD"])
def key_list(request: PersonRequest) -> HttpResponse:
    return _page(request, chosen_place(request), KeyForm())


@throttled(Limit("mint", "20/h", "user_or_ip"))
@person_required
@require_POST
def mint(request: PersonRequest) -> HttpResponse:
    place = chosen_place(request, "use")
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, place, form, status=400)
    settings = form.settings()
    name, expires_at = settings.pop("name"), settings.pop("expires_at")
    key, plaintext = issued_keys.mint(
        request.user,
        name,
        expires_at,
        place.project,
        by=actor_of(request),
        **settings,  # type: ignore[misc]  # without those two it is KeyOptions
    )
    return _show_once(request, key, plaintext)


@never_cache
@person_required
@require_http_methods(["GET", "HEAD", "POST"])
def key_details(request: PersonRequest, key_id: int) -> HttpResponse:
    key, place = _key(request, key_id)
    was_signed = key.signed
    form = KeyForm(request.POST or None, instance=key)
    if request.method == "POST" and form.is_valid():
        issued_keys.edit(key, by=actor_of(request), **form.settings())
        if key.signed and not was_signed:
            once.put(request, "signing", {"key": key.pk, "secret": signatures.secret_of(key)})
        messages.success(request, _("“%s” is changed.") % key.name)
        return redirect("console:key", key_id)
    signing = once.take(request, "signing")
    context = {"key": key, "place": place, "form": form, "rotate_form": RotateForm(), "signing": signing}
    return render(request, "console/key.html", context, status=400 if form.errors else 200)


@throttled(Limit("mint", "20/h", "user_or_ip"))
@person_required
@require_POST
def rotate(request: PersonRequest, key_id: int) -> HttpResponse:
    key, _place = _key(request, key_id)
    form = RotateForm(request.POST)
    if not form.is_valid():
        return redirect("console:key", key_id)
    try:
        successor, plaintext = issued_keys.rotate(key, form.grace_period(), by=actor_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("console:key", key_id)
    return _show_once(request, successor, plaintext)


@person_required
@require_POST
def revoke(request: PersonRequest, key_id: int) -> HttpResponse:
    key, _place = _key(request, key_id)
    issued_keys.revoke(key, by=actor_of(request))
    messages.success(request, _("“%s” is revoked. Calls with it are refused from now on.") % key.name)
    return redirect(_list_url(key))


def _key(request: PersonRequest, key_id: int) -> tuple[ApiKey, Place]:
    """A key that the person may change. 404 where they do not belong, 403 for another member's."""
    key = get_object_or_404(ApiKey.objects.select_related("project", "owner", "replaced_by"), pk=key_id)
    place = place_of(request, key.project_id)
    if not place.may_edit(key):
        raise PermissionDenied
    return key, place


def _show_once(request: PersonRequest, key: ApiKey, plaintext: str) -> HttpResponse:
    signing = signatures.secret_of(key) if key.signed else ""
    once.put(request, "key", {"name": key.name, "plaintext": plaintext, "signing": signing})
    return redirect(_list_url(key))


def _list_url(key: ApiKey) -> str:
    url = reverse("console:keys")
    return url if key.project.personal_of_id is not None else f"{url}?project={key.project_id}"


def _page(request: PersonRequest, place: Place, form: KeyForm, status: int = 200) -> HttpResponse:
    minted = once.take(request, "key")
    keys = ApiKey.objects.filter(project=place.project).select_related("owner", "replaced_by")
    context = {
        "form": form,
        "place": place,
        "projects": choices(request, place),
        "keys": [(key, place.may_edit(key)) for key in keys],
        "minted": minted,
        "snippets": quick_start(request, minted["plaintext"]) if minted and not minted.get("signing") else [],
    }
    return render(request, "console/keys.html", context, status=status)
