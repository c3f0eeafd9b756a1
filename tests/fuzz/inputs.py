"""What the tests of hostile input have in common: texts, damage, and how memory is measured."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

any_text = st.text(st.characters(categories=None))  # lone surrogates too


words = any_text | st.sampled_from(["disk", "a.b:c", "never", "auto", "/", "Lax", "true", "1e999"])


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Return good bytes with bits flipped, and parts cut out, doubled, moved or put in."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 6))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match draw(st.sampled_from(["flip", "cut", "double", "move", "put in"])):
            case "flip" if begin < len(data):
                data[begin] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[begin:end]
            case "double":
                data[begin:begin] = data[begin:end] * draw(st.sampled_from([1, 2, 500]))
            case "move":
                data = data[end:] + data[begin:end] + data[:begin]
            case _:
                data[begin:begin] = draw(st.binary(max_size=4))
        data = data[:100_000]
    return bytes(data)


def most_memory(function: Callable[[], object]) -> int:
    """Return the bytes that were in use at most while the function ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Bytes in memory for each byte of input. Python's smallest objects are what it comes to:
# a dict of one key takes 184 bytes, and six in JSON.
MEMORY_PER_BYTE = 40


def wrapped(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = wrap(value)
    return value
