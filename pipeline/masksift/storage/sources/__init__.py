"""Find, open and validate sources."""
