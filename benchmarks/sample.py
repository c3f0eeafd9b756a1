"""What the sessions of the benchmarks hold: four keys, about 300 bytes of JSON."""

from __future__ import annotations

from typing import Final

from glimr_session import Json, encode_payload

__all__ = ["SAMPLE", "of_size"]

SAMPLE: Final[dict[str, Json]] = {
    "user": {"id": 48_151, "name": "Grace Hopper", "roles": ["author", "editor"]},
    "csrf_token": "1f8a4c1be0d94d7c9f0b6a0f7f3f5f0e61c2d3b4a5968778695a4b3c2d1e0f00",
    "cart": [{"item": "A-1906", "number": 2}, {"item": "B-1992", "number": 1}],
    # Counted up by every request that writes; six digits, so that the size stays.
    "visits": 100_000,
}


def of_size(size: int) -> dict[str, Json]:
    """Give the sample, made to take so many bytes by one more text in it."""
    missing = size - len(encode_payload({**SAMPLE, "text": ""}, {}))
    return {**SAMPLE, "text": "x" * missing}
