"""The inside of a session: its state, its messages, its actor. Nothing in here does I/O."""
