"""The site for a server: ``gunicorn --chdir examples/signup_django members.wsgi``."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "members.settings")

# A site that is no example leaves these files to the web server in front of it.
application = StaticFilesHandler(get_wsgi_application())
