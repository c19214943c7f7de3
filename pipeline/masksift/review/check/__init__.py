"""`masksift check`: fail a workflow if a completed run exceeds its limits."""
