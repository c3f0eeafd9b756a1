"""What our docstrings write otherwise than mkdocstrings, for what Griffe loads."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Notations(Extension):
    """Rewrites the docstring of each object."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rename the section of examples, leave out roles and double colons, link pages."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
            text = re.sub(r"\bdocs/([\w-]+)\.md\b", r"[\1](../\1.md)", text)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
