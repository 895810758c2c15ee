"""Limits that all servers share: the same decision, on Redis, as one script."""
