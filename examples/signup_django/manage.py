"""Django's commands, and ``first_start``, which makes the database."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "members.settings")
    execute_from_command_line(sys.argv)
