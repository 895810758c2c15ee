"""All settings. Each one that an operator may change comes from the environment (docs/settings.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from config.env import (
    env,
    env_choice,
    env_int,
    env_list,
    env_postgresql,
    env_secret,
    env_url,
    make_folder,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# -- Where things are -------------------------------------------------------------------------

HOST = env("HOST", "127.0.0.1")
PORT = env_int("PORT", 8000, at_most=65535)
SERVER = env_choice("SERVER", "uvicorn", ("daphne", "uvicorn"))
DATA_DIR = Path(env("DATA_DIR", str(BASE_DIR / "var"))).resolve()
make_folder("DATA_DIR", DATA_DIR)
MODELS_FILE = Path(env("MODELS_FILE", str(BASE_DIR / "models.toml"))).resolve()
MODELS_DIR = DATA_DIR / "models"
JOURNAL_DIR = DATA_DIR / "journal"
FILES_DIR = DATA_DIR / "files"

# The address that people type. https here switches every transport protection on.
SITE_URL = env("SITE_URL", f"http://{HOST}:{PORT}").rstrip("/")
_HTTPS = SITE_URL.startswith("https://")

# Where the workers that run batches find the site: past its proxy.
_LISTENING = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(HOST, HOST)  # noqa: S104 (it is compared to)
INTERNAL_URL = env("INTERNAL_URL", f"http://{_LISTENING}:{PORT}")

# -- Security ---------------------------------------------------------------------------------

DEBUG = False
SECRET_KEY = env_secret("SECRET_KEY", DATA_DIR / "secret_key")
ALLOWED_HOSTS = sorted(
    {"127.0.0.1", "localhost", "[::1]", HOST, urlsplit(SITE_URL).hostname or HOST, *env_list("ALLOWED_HOSTS")}
)
CSRF_TRUSTED_ORIGINS = [SITE_URL]
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = SECURE_SSL_REDIRECT = _HTTPS
CSRF_COOKIE_SAMESITE = SESSION_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 0, at_least=0, at_most=16)
RATELIMIT_IP_META_KEY = "apikeys.addresses.client_address"
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes come straight to the port
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024  # bytes of one request body
FILE_MAX_BYTES = env_int("FILE_MAX_MB", 100, at_most=2000) * 1024 * 1024  # of one uploaded file

# -- Applications -----------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "channels",
    "csp",
    "rest_framework",
    "adrf",
    "drf_spectacular",
    "apikeys",
    "serving",
    "playground",
    "console",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# -- Database, cache, channel layer -----------------------------------------------------------

_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATA_DIR / "console.sqlite3",
    "OPTIONS": {
        "timeout": 20,
        # A transaction that reads and then writes must take the write lock at its start:
        # upgrading later fails at once instead of waiting.
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    },
    # A file, as in production: an in-memory one has no WAL and locks whole tables.
    "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
}
DATABASES = {"default": env_postgresql("DATABASE_URL") or _SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Shared by all servers: limits and the cache. Without it each server has its own. There is no channel layer:
# nothing is sent to a socket but by the consumer that holds it, and sockets would end with Redis.
REDIS_URL = env_url("REDIS_URL", "redis", "rediss")
_CACHE: dict[str, Any] = (
    {"BACKEND": "config.cache.SharedCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
)
_ANSWERS = {"KEY_PREFIX": "answers", "OPTIONS": {"MAX_ENTRIES": 512}}
CACHES = {
    "default": _CACHE,
    "answers": {**_CACHE, **_ANSWERS, "LOCATION": REDIS_URL or "answers"},
}

# django-ratelimit wants a cache shared by all processes. Without Redis there is one process, and its
# own memory is that cache.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.E003", "django_ratelimit.W001"]

# -- Accounts ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "console.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
ACCOUNT_ADAPTER = "console.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = env("EMAIL_VERIFICATION", "none")
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = False  # django-ratelimit guards these pages (console/accounts.py)
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "console:overview"
ACCOUNT_LOGOUT_REDIRECT_URL = "console:home"

# Who may sign up: "open", "invite", or "domain:example.com,example.org".
SIGNUP = env("SIGNUP", "open")

EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if env("EMAIL_HOST")
    else "django.core.mail.backends.console.EmailBackend"
)
EMAIL_HOST = env("EMAIL_HOST")
EMAIL_PORT = env_int("EMAIL_PORT", 587)
EMAIL_HOST_USER = env("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = EMAIL_PORT == 587
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", "console@localhost")

# -- Limits and usage -------------------------------------------------------------------------

RATE_LIMIT_PER_SECOND = env_int("RATE_LIMIT_PER_SECOND", 10)
RATE_LIMIT_BURST = env_int("RATE_LIMIT_BURST", 50)
METRICS_TOKEN = env("METRICS_TOKEN")
USAGE_RETENTION_DAYS = env_int("USAGE_RETENTION_DAYS", 90)
CONTENT_RETENTION_DAYS = env_int("CONTENT_RETENTION_DAYS", 30)
CONTENT_KEYS = env_list("CONTENT_KEY") or [SECRET_KEY]
KEY_EXPIRY_NOTICE_DAYS = env_int("KEY_EXPIRY_NOTICE_DAYS", 7)
CURRENCY = env("CURRENCY", "USD")  # of all prices, costs and budgets: a name, nothing is converted
BATCH_CONCURRENCY = env_int("BATCH_CONCURRENCY", 8, at_most=256)  # lines of one batch at a time

# -- Background work --------------------------------------------------------------------------

# No broker: config.asgi runs the worker and the beat inside this process.
CELERY_BROKER_URL = env("BROKER_URL", "memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # a batch runs for hours: others should get what waits behind it
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = {
    "roll-up-usage": {"task": "apikeys.roll_up_usage", "schedule": 60.0},
    "expire-keys": {"task": "apikeys.expire_keys", "schedule": 60.0},
    "send-notices": {"task": "apikeys.send_notices", "schedule": 600.0},
    "forget-nonces": {"task": "apikeys.forget_nonces", "schedule": 600.0},
    "send-batches": {"task": "serving.send_batches", "schedule": 5.0},
    "prune-files": {"task": "serving.prune_files", "schedule": crontab(hour="3", minute="37")},
    "prune-usage": {"task": "apikeys.prune_usage", "schedule": crontab(hour="3", minute="17")},
    "rotate-signing-key": {"task": "apikeys.rotate_signing_key", "schedule": 3600.0},
    "prune-sessions": {"task": "apikeys.prune_sessions", "schedule": crontab(hour="3", minute="37")},
    "prune-kept-answers": {"task": "serving.prune_kept_answers", "schedule": 300.0},
}

# -- API --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apikeys.auth.ApiKeyAuthentication"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "serving.errors.drf_exception_handler",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "UNAUTHENTICATED_USER": None,
}
# In the order in which people come to need them.
_TAGS = ("Text", "Models", "Batches", "Keys", "Sessions", "Usage", "Projects", "Me", "Server", "Audit")
SPECTACULAR_SETTINGS = {
    "TITLE": "Open-AutoGLM Console API",
    "DESCRIPTION": (
        "`/v1`: an OpenAI-compatible API served by your own machine. "
        "`/api/v1`: access tokens, keys and all else that manages it."
    ),
    "VERSION": "1",
    "TAGS": [{"name": name} for name in _TAGS],
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "COMPONENT_SPLIT_REQUEST": True,  # what cannot be set is not in the shape of what is sent
    "SCHEMA_PATH_PREFIX": "/(api/)?v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "serving.openapi.require_bodies",
    ],
}

# -- Languages and static files ---------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
_NODE = BASE_DIR / "node_modules"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    ("vendor/uplot", _NODE / "uplot" / "dist"),
    ("vendor/markdown-it", _NODE / "markdown-it" / "dist"),
    ("vendor/dompurify", _NODE / "dompurify" / "dist"),
    ("vendor/highlight", _NODE / "@highlightjs" / "cdn-assets" / "es"),
    ("vendor/swagger-ui", _NODE / "swagger-ui-dist"),
]

# -- Logs -------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env("LOG_LEVEL", "INFO")},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "twisted": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
