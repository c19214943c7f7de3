"""Simulate annotation errors, and measure how well scores find known errors."""
