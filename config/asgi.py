"""The entry for ASGI servers: `uvicorn config.asgi:application`; `manage.py serve` uses it too."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from config.site import Site  # noqa: E402  (its imports need Django set up)

application = Site()
