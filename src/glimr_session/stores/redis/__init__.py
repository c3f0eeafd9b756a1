"""Sessions on Redis or Valkey: one server, those of a Sentinel service, or a Cluster."""

from .._server import missing_extra

try:
    import redis  # noqa: F401
except ImportError as error:
    raise missing_extra("redis", error) from error

from .store import RedisStore, redis_store

__all__ = ["RedisStore", "redis_store"]
