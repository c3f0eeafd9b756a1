"""What the web application of every arm does with its session.

A page is a function of a mapping, so that the very same ones run on any session, and on
a plain dict where there is none. Two of them need what is no mapping's business, and what
every framework spells in its own way: ``Verbs``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias

from .sample import SAMPLE

__all__ = ["ERRORS", "LOGGED_IN", "OLD", "PAGES", "Field", "Page", "Verbs", "pages_with"]

Page: TypeAlias = Callable[[MutableMapping[str, Any]], str]

Field: TypeAlias = Callable[[str], tuple[str, str]]
"""Give what was typed into a form's field, and its error, "" if there is none."""

LOGGED_IN: Final = {"id": 48_152, "name": "Ada Lovelace", "roles": ["author", "reader"]}
"""Who a login makes the user: somebody else than the sample's."""

ERRORS: Final = {"email": "This address is taken.", "age": "Give a number."}
OLD: Final = {"name": "Ada Lovelace", "email": "ada@example.org", "age": "thirty-six"}
"""A form that came back: its errors, and what was typed into its fields."""

_FLASH: Final = "flash"


def _leave(
    session: MutableMapping[str, Any], errors: Mapping[str, str], old: Mapping[str, str]
) -> None:
    session[_FLASH] = {"errors": dict(errors), "old": dict(old)}


def _shown(session: MutableMapping[str, Any]) -> Field:
    flash = session.pop(_FLASH, None) or {"errors": {}, "old": {}}
    errors, old = flash["errors"], flash["old"]
    return lambda field: (old.get(field, ""), errors.get(field, ""))


class Verbs(NamedTuple):
    """How a framework says what its sessions can do beside being a mapping.

    ``regenerate`` goes on under another id. ``leave`` flashes errors and old values, and
    ``shown`` gives what the request before has left, once. Most frameworks have no such
    thing; what stands here is the least that anybody can do: one value that is set, and
    taken out when it is shown.
    """

    regenerate: Callable[[Any], object]
    leave: Callable[[Any, Mapping[str, str], Mapping[str, str]], object] = _leave
    shown: Callable[[Any], Field] = _shown


def _fill(session: MutableMapping[str, Any]) -> str:
    session.update(SAMPLE)
    return "filled"


def _ignore(_session: MutableMapping[str, Any]) -> str:
    return "ignored"


def _read(session: MutableMapping[str, Any]) -> str:
    return str(session["visits"])


def _visit(session: MutableMapping[str, Any]) -> str:
    visits = session["visits"]
    session["visits"] = visits + 1
    return str(visits)


def _show(session: MutableMapping[str, Any]) -> str:
    # Some keep times and flags of their own under names with an underscore.
    shown = {key: value for key, value in session.items() if not key.startswith("_")}
    return json.dumps(shown, sort_keys=True)


PAGES: Final[Mapping[str, Page]] = {
    "/fill": _fill,
    "/ignore": _ignore,
    "/read": _read,
    "/show": _show,
    "/visit": _visit,
}
"""The pages that a mapping is enough for."""


def pages_with(verbs: Verbs) -> dict[str, Page]:
    """Give all pages, those with a login and with a form too."""

    def login(session: MutableMapping[str, Any]) -> str:
        verbs.regenerate(session)
        session["user"] = LOGGED_IN
        return "logged in"

    def form(session: MutableMapping[str, Any]) -> str:
        verbs.leave(session, ERRORS, OLD)
        return "see the form again"

    def form_again(session: MutableMapping[str, Any]) -> str:
        shown = verbs.shown(session)
        return "\n".join(": ".join((field, *shown(field))) for field in OLD)

    return {**PAGES, "/login": login, "/form": form, "/form-again": form_again}
