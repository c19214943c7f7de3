"""Plan and stages of a run, and the work of one block."""
