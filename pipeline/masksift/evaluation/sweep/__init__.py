"""Measure many combinations of simulated errors and scores from one pass over the predictions (`masksift sweep`)."""
