from __future__ import annotations

import secrets

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Make the database, and a superuser for the admin, whose password is printed once."

    def handle(self, *args: object, **options: object) -> None:
        call_command("migrate", verbosity=0)
        if User.objects.filter(is_superuser=True).exists():
            self.stdout.write("There is a superuser already.")
            return
        password = secrets.token_urlsafe()
        User.objects.create_superuser("admin", password=password)
        self.stdout.write(f"The superuser of /admin/ is admin, with the password {password}")
