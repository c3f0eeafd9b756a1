"""The frameworks' own tests, from their source distributions, run against our doors."""
