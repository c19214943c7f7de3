"""Measure how well the scores of a run find known errors (`masksift evaluate`)."""
