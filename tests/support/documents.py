"""The code blocks of the documentation, for the tests that run and check them."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("README.md", "docs/guide.md", "docs/stores.md")


class Block(NamedTuple):
    """A fenced block of code of a page.

    Attributes:
        page: the page, from the top of the repository.
        line: the line of the page where the code begins, from 1.
        language: the word behind the fence.
        code: what is in it.
    """

    page: str
    line: int
    language: str
    code: str


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")) + 1,
            found["language"],
            textwrap.dedent(found["code"]),
        )
        for found in re.finditer(
            r"^ *```(?P<language>\w+)\n(?P<code>.*?)^ *```$", text, re.DOTALL | re.MULTILINE
        )
    ]


BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]


def block(first_line: str) -> Block:
    """Return the only block that begins with this."""
    (found,) = (block for block in BLOCKS if block.code.startswith(first_line))
    return found


def free_names(code: str) -> set[str]:
    """Return the names that a program uses and does not define: its reader has them."""
    used, defined = set[str](), set[str]()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(name, ast.Load()):
                used.add(name)
            case ast.Name(name) | ast.arg(name) | ast.FunctionDef(name) | ast.ClassDef(name):
                defined.add(name)
            case ast.AsyncFunctionDef(name):
                defined.add(name)
            case ast.ExceptHandler(name=str(name)):
                defined.add(name)
            case ast.alias(name, alias):
                defined.add(alias or name.partition(".")[0])
            case _:
                pass
    return used - defined - set(dir(builtins))
