"""The commands of ``glimr-session``, one noun per module."""
