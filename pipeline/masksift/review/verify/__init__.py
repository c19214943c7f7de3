"""`masksift verify`: recompute a completed run from its predictions and labels in plain NumPy, and compare."""
