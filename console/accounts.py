"""How accounts come to be: who may sign up, and who becomes the administrator."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    """allauth's adapter with this site's rules."""
