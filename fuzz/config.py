"""Settings: a file or an environment that says anything at all."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable
from random import Random
from typing import Final

from glimr_session import ConfigError, SessionConfig

__all__ = ["KEY", "WORDS", "check", "from_file", "mutated", "run", "seeds"]

KEY: Final = "a-key-of-a-trial-that-nobody-may-see-printed"

_PREFIX: Final = b"GLIMR_SESSION_"

_SECRET: Final = {"GLIMR_SESSION_SECRET_KEYS": KEY}

_NAMES: Final = [name.encode() for name in SessionConfig.__dataclass_fields__]
_VALUES: Final = [
    b'"disk"', b'"a.b:c"', b'"never"', b'"auto"', b'"None"', b'"/"', b'"__Host-s"', b'""',
    b'"example.com"', b"true", b"false", b"0", b"-1", b"30", b"600.5", b"1e999", b"nan", b"-inf",
    b"0xff", b"1979-05-27", b"07:32:00", b"[]", b"[1, 2]", b"[[]]", b"{}", b'{a = "b"}',
    b'["x", "y"]', b'"""x"""', b"'''x'''", b'"\\ud800"', b'"\\U00110000"',
]  # fmt: skip

WORDS: Final = [
    *_NAMES,
    *(_PREFIX + name.upper() for name in _NAMES),
    *_VALUES,
    *[b"disk", b"[disk]", b"[[gc]]", b" = ", b"\n", b".", b"#"],
]


def check(make: Callable[[], SessionConfig]) -> None:
    """Make a configuration: it is one, or a ConfigError that shows no key."""
    try:
        made = make()
    except ConfigError as error:
        shown = "".join(traceback.format_exception(error))
        assert KEY not in shown, "a key is in the error"
    else:
        assert type(made) is SessionConfig
        assert KEY not in repr(made), "a key is in the repr"


def from_file(content: bytes) -> SessionConfig:
    """Read a file with this content, and a key from the environment."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return SessionConfig.from_toml(file.name, _SECRET)


def run(data: bytes) -> None:
    """Check bytes as a file, or as the lines of an environment if they begin with our prefix."""
    if not data.startswith(_PREFIX):
        check(lambda: from_file(data))
        return
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    environ = {name: text for name, _, text in (line.partition("=") for line in lines)}
    check(lambda: SessionConfig.from_env({**environ, **_SECRET}))


def mutated(data: bytes, random: Random) -> bytes:
    """Return the lines with other names, values or order, some added and some removed."""
    lines = data.split(b"\n")
    for _ in range(random.randint(1, 3)):
        number = random.randrange(len(lines))
        name, _, value = lines[number].partition(b"=")
        match random.randrange(5):
            case 0:
                lines[number] = b"%b=%b" % (name, random.choice(_VALUES))
            case 1:
                lines[number] = b"%b=%b" % (random.choice(WORDS), value)
            case 2:
                lines.insert(number, random.choice([*lines, b"[disk]", b"[[gc]]"]))
            case 3 if len(lines) > 1:
                del lines[number]
            case _:
                lines = lines[number:] + lines[:number]
    return b"\n".join(lines)


def seeds() -> list[bytes]:
    """Return good settings of each kind, and some that go wrong in many ways."""
    return [
        b"""
        store = "cookie"
        cookie = "shop"
        lifetime = 30
        absolute_lifetime = 600.5
        expire_on_close = true
        gc = "never"
        [disk]
        directory = "some/where"
        """,
        b'disk.directory = "x"\ncookie = {path = "/", domain = "example.com"}',
        b'cookie_secure = "auto"\ncookie_samesite = "None"\ngc_chance = 1\nstore = "a.b:c"',
        b"secret_keys = [\"short\", 'a key that is long enough for anybody']",
        b"lifetime = 1979-05-27T07:32:00Z\n[[store]]\nx = [1, [2.5e9, 0xff], -0b1, nan]",
        b'gc = """a\\u0301\n"""',
        b"GLIMR_SESSION_LIFETIME=30\nGLIMR_SESSION_COOKIE=shop\nPATH=/bin",
        b"GLIMR_SESSION_GC_CHANCE=1e-3\nGLIMR_SESSION_EXPIRE_ON_CLOSE=true",
        b"lifetime = 0x" + b"f" * 3_600,
        b"store = " + b"[" * 1_100,
        b"disk.directory" + b".a" * 1_100 + b" = 1",
    ]
