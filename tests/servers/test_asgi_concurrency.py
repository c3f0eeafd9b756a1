"""Many requests of one session at once, on an ASGI server with several workers.

The scenes are those of ``tests.servers.test_concurrency``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import test_concurrency as scenes
from tests.support.asgi_servers import running_asgi
from tests.support.servers import Server

globals().update({name: value for name, value in vars(scenes).items() if name[:5] == "test_"})


@pytest.fixture(scope="module", params=("uvicorn",))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the disk store."""
    directory: Path = tmp_path_factory.mktemp("concurrency")
    with running_asgi(request.param, directory, processes=2) as found:
        yield found
