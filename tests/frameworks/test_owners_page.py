"""What the page about owners says, for a plain WSGI application, and of all frameworks."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from glimr_session import DiskStore
from glimr_session.testing import Visitor
from tests.frameworks.owners_page import BLOCKS, WSGI, run
from tests.support.documents import ROOT


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks."""
    text = (ROOT / "docs/owners.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_devices_are_listed_and_ended(tmp_path: Path) -> None:
    """This one is marked; only the user's own are ended; a new password ends all others."""
    names = run(WSGI)
    with (
        closing(DiskStore(tmp_path / "sessions")) as store,
        Visitor(store) as mine,
        Visitor(store) as other,
        Visitor(store) as strange,
    ):

        def ask(visitor: Visitor, name: str, *arguments: object) -> Any:
            request = visitor.request()
            found = names[name](request.session, *arguments)
            request.respond()
            return found

        def is_known(visitor: Visitor) -> bool:
            return visitor.request().session.has("user")

        for visitor, user in ((mine, 7), (other, 7), (strange, 8)):
            ask(visitor, "log_in", user, "phone")
        listed = ask(mine, "devices")
        assert sorted(device[1:] for device in listed) == [("phone", False), ("phone", True)]
        (theirs,) = (handle for handle, _, this_one in listed if not this_one)
        ask(strange, "end_device", theirs)
        assert is_known(other)
        assert ask(mine, "password_changed") == 1
        assert not is_known(other)
        assert is_known(mine)
        assert is_known(strange)
        ask(other, "log_in", 7, "laptop")
        (theirs,) = (handle for handle, _, this_one in ask(mine, "devices") if not this_one)
        ask(mine, "end_device", theirs)
        assert not is_known(other)
