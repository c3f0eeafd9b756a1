"""What runs inside the suites: imported by name from this directory, never as ``tests.judges``."""
