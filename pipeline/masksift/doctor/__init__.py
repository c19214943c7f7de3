"""Checks of an installation and of sources, before a run."""
