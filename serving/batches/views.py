"""/v1/files and /v1/batches. What changes something takes a place in the bucket and is recorded; looking does
not, so that a batch may be watched."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from serving.api_view import ApiView, caller_of
from serving.batches import files, lifecycle, queue
from serving.batches.downloads import file_response
from serving.batches.models import Batch, StoredFile
from serving.batches.objects import batch_object, file_object, list_object
from serving.batches.openapi import (
    describes_batch,
    describes_batches,
    describes_cancellation,
    describes_content,
    describes_deletion,
    describes_file,
    describes_files,
    describes_new_batch,
    describes_upload,
)
from serving.batches.schemas import BATCH_PAGE_FIELDS, FILE_PAGE_FIELDS, parse_batch_request, parse_page
from serving.errors import json_response
from serving.middleware import request_id_of
from serving.receipts import Receipt, admitted


class FilesView(ApiView):
    endpoint = "/v1/files"

    @describes_files
    async def get(self, request: Request) -> HttpResponseBase:
        page = parse_page(request.query_params, FILE_PAGE_FIELDS)
        rows = StoredFile.objects.filter(project_id=caller_of(request).project_id)
        if page.purpose is not None:
            rows = rows.filter(purpose=page.purpose)
        return json_response(await list_object(rows, page, file_object))

    @describes_upload
    async def post(self, request: Request) -> HttpResponseBase:
        caller = caller_of(request)
        receipt = Receipt(caller, request_id_of(request), self.endpoint)
        async with admitted(receipt) as permit:
            file = await sync_to_async(files.upload)(request._request, caller.project_id)
            receipt.write(200)
        return json_response(file_object(file), headers=permit.headers)


class FileView(ApiView):
    http_method_names = ("get", "head", "delete")

    @describes_file
    async def get(self, request: Request, file_id: str) -> HttpResponseBase:
        return json_response(file_object(await files.find(caller_of(request).project_id, file_id)))

    @describes_deletion
    async def delete(self, request: Request, file_id: str) -> HttpResponseBase:
        await files.delete(await files.find(caller_of(request).project_id, file_id))
        return json_response({"id": file_id, "object": "file", "deleted": True})


class FileContentView(ApiView):
    @describes_content
    async def get(self, request: Request, file_id: str) -> HttpResponseBase:
        file = await files.find(caller_of(request).project_id, file_id)
        return await sync_to_async(file_response)(file)


class BatchesView(ApiView):
    endpoint = "/v1/batches"

    @describes_batches
    async def get(self, request: Request) -> HttpResponseBase:
        page = parse_page(request.query_params, BATCH_PAGE_FIELDS)
        rows = Batch.objects.filter(project_id=caller_of(request).project_id)
        return json_response(await list_object(rows, page, batch_object))

    @describes_new_batch
    async def post(self, request: Request) -> HttpResponseBase:
        asked = await self.parse_body(request, parse_batch_request)
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        async with admitted(receipt) as permit:
            batch = await sync_to_async(lifecycle.create)(receipt.caller, asked)
            receipt.write(200)
        await sync_to_async(queue.send_waiting)()
        return json_response(batch_object(batch), headers=permit.headers)


class BatchView(ApiView):
    @describes_batch
    async def get(self, request: Request, batch_id: str) -> HttpResponseBase:
        return json_response(batch_object(await lifecycle.find(caller_of(request).project_id, batch_id)))


class CancelBatchView(ApiView):
    endpoint = "/v1/batches/{batch_id}/cancel"

    @describes_cancellation
    async def post(self, request: Request, batch_id: str) -> HttpResponseBase:
        receipt = Receipt(caller_of(request), request_id_of(request), self.endpoint)
        async with admitted(receipt) as permit:
            batch = await lifecycle.find(receipt.caller.project_id, batch_id)
            await sync_to_async(lifecycle.cancel)(batch)
            receipt.write(200)
        await sync_to_async(queue.send_waiting)()
        return json_response(batch_object(batch), headers=permit.headers)
