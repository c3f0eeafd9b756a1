"""One request and its session, free of any web framework."""
