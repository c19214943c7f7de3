"""Types, errors and small helpers that every other package uses."""
