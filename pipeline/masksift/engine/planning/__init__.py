"""Plan of a run: integer arithmetic over shapes and chunks; nothing is opened."""
