"""Synthetic street scenes with labels."""
