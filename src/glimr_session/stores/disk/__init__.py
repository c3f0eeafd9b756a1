"""The embedded store: sessions in a directory of this machine, in a file of diskcache."""

from .store import DiskStore, disk_store

__all__ = ["DiskStore", "disk_store"]
