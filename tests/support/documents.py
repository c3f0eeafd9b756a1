"""The code blocks of the documentation, for the tests that run and check them."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
# The blocks of these are run by tests/test_recipes.py, and those of HOW_TO by tests/docs/.
# The other pages have a test of their own.
PAGES: Final = (
    "README.md", "docs/guide.md", "docs/stores.md", "docs/disk.md", "docs/redis.md", "docs/sql.md",
)  # fmt: skip
HOW_TO: Final = (
    "docs/index.md",
    "docs/tutorial.md",
    *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/how-to/*.md")),
)


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
RECIPES: Final = [block for page in HOW_TO for block in blocks_of(page)]


def block(first_line: str) -> Block:
    """Return the only block that begins with this."""
    (found,) = (block for block in BLOCKS if block.code.startswith(first_line))
    return found


def recipe(page: str, first_line: str) -> Block:
    """Return the only block of a how-to page that begins with this."""
    (found,) = (
        block
        for block in RECIPES
        if block.page == f"docs/{page}" and block.code.startswith(first_line)
    )
    return found


def session_of_a_shell(block: Block) -> list[tuple[str, str]]:
    """Return what is typed at each prompt of a ``console`` block, and what is printed then."""
    prompts = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.code, re.MULTILINE)
    return [(command, printed) for command, printed in prompts]


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
