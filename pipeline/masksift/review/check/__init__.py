"""Whether a complete run keeps the limits that a workflow sets: a gate before its data goes on."""
