"""Scores, thresholds and regions as functions of arrays."""
