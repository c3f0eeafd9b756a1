"""The programs on the page about owners: each framework's tests run the one that is theirs."""

from __future__ import annotations

from typing import Any, Final

from tests.support.documents import Block, blocks_of

BLOCKS: Final = blocks_of("docs/owners.md")

WSGI, FLASK, DJANGO, PYRAMID, FASTAPI = BLOCKS


def run(block: Block) -> dict[str, Any]:
    """Run a program; return the names that it leaves."""
    names: dict[str, Any] = {}
    exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    return names
