"""Commands and writers that create sources."""
