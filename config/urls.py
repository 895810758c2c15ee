"""Every address of the site, by the app that answers it."""

from django.urls import include, path

urlpatterns = [
    path("", include("console.urls")),
    path("", include("serving.urls")),
    path("playground/", include("playground.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]
