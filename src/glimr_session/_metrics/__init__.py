"""What is measured of a store, and where it is sent. The public names are in ``metrics``."""
