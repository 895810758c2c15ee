#!/usr/bin/env python
"""Django's command line: `manage.py serve`, `manage.py createkey`, `manage.py migrate` and the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
