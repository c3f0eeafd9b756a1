"""Sites with the sessions of other libraries. Each module says how its library differs."""
