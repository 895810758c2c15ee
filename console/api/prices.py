"""/api/v1/prices: what a million tokens cost, from when on."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.models import Price
from console.api.openapi import describes
from console.api.parsing import ListQuery
from console.api.view import ManagementViewSet


class PriceListQuery(ListQuery):
    model = serializers.CharField(required=False, max_length=200)


class PriceSerializer(serializers.ModelSerializer[Price]):
    """In the site's currency; a model without a price is free."""

    class Meta:
        model = Price
        fields = ("id", "model", "input", "output", "valid_from", "created_at")


class PricesViewSet(ListModelMixin, ManagementViewSet):
    serializer_class = PriceSerializer
    queryset = Price.objects.order_by("model", "-valid_from")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.asked(PriceListQuery, self.request.query_params.dict())
        return queryset.filter(model=asked["model"]) if "model" in asked else queryset

    @describes(
        "list_prices",
        "Prices, those of each model from the newest on",
        PriceSerializer(many=True),
        tag="Usage",
        query=[PriceListQuery],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)
