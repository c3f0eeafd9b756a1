"""Hides eventlet and gevent, so that Flask-SocketIO takes threads, as where its tests are at home.

With eventlet a background task runs only when the test yields, and one test does not.
"""

from __future__ import annotations

import sys
from typing import Any

modules: dict[str, Any] = sys.modules  # None in it is a module that cannot be imported
modules |= {"eventlet": None, "gevent": None}
