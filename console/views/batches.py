"""The batches that run in the name of one's keys: how far they are, what came of them."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from console.examples import snippets_of
from console.requests import PersonRequest, person_required
from serving.batches import lifecycle, queue
from serving.batches.downloads import file_response
from serving.batches.models import Batch, StoredFile
from serving.errors import Conflict, NotFound

SHOWN = 50  # the newest


@person_required
@require_safe
def batch_list(request: PersonRequest) -> HttpResponse:
    context = {"batches": _batches_of(request)[:SHOWN], "snippets": snippets_of("batches", request)}
    return render(request, "console/batches.html", context)


@never_cache
@person_required
@require_safe
def batch_rows(request: PersonRequest) -> HttpResponse:
    """The part of the page that changes; static/js/live.js puts it in place."""
    return render(request, "console/batch_rows.html", {"batches": _batches_of(request)[:SHOWN]})


@person_required
@require_POST
def cancel_batch(request: PersonRequest, batch_id: str) -> HttpResponse:
    batch = get_object_or_404(_batches_of(request), id=batch_id)
    try:
        lifecycle.cancel(batch)
    except Conflict:
        messages.warning(request, _("The batch had ended already."))
    else:
        queue.send_waiting()
        messages.success(request, _("The batch is being cancelled. What has been answered is kept."))
    return redirect("console:batches")


@person_required
@require_safe
def batch_file(request: PersonRequest, batch_id: str, kind: str) -> HttpResponseBase:
    """``kind``: "output" or "error"."""
    batch = get_object_or_404(_batches_of(request), id=batch_id)
    files = {"output": batch.output_file_id, "error": batch.error_file_id}
    file = get_object_or_404(StoredFile, id=files.get(kind))
    try:
        return file_response(file)
    except NotFound as error:
        raise Http404 from error


def _batches_of(request: PersonRequest) -> QuerySet[Batch]:
    return Batch.objects.filter(key__owner=request.user).select_related("key").order_by("-created_at", "-id")
