"""REST framework's dispatch, on the event loop from beginning to end."""

from __future__ import annotations

from typing import Any, cast

from adrf.views import APIView
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request


class LoopView(APIView):  # type: ignore[misc]  # adrf has no types
    """adrf asks a thread about every request, because an authentication class may query the database.
    ``ApiKeyAuthentication`` does that itself, and only for a key that is not known yet; the rest of what
    REST framework does before a view is arithmetic."""

    async def async_dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The steps of ``APIView.dispatch``, in their order."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            for authenticator in self.request.authenticators:
                self.request.user, self.request.auth = await authenticator.aauthenticate(self.request)
                await self.check_access(self.request)
            self.initial(self.request, *args, **kwargs)
            response = await self.respond()
        except Exception as error:
            response = self.handle_exception(error)
        self.response = response = self.finalize_response(self.request, response, *args, **kwargs)
        return cast(HttpResponseBase, response)

    async def check_access(self, request: Request) -> None:
        """For a request whose caller is known. Raises ServiceError when that caller may not go on."""

    async def respond(self) -> HttpResponseBase:
        """What the method's handler answers, once it is known who asks."""
        return cast(HttpResponseBase, await self._handler()(self.request, *self.args, **self.kwargs))

    def _handler(self) -> Any:
        method = (self.request.method or "").lower()
        known = method in self.http_method_names
        return getattr(self, method, self._refuse_method) if known else self._refuse_method

    async def _refuse_method(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return self.http_method_not_allowed(*args, **kwargs)  # type: ignore[no-any-return]  # it raises
