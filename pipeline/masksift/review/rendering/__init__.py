"""Figures of one image: class colors, panels and layout."""
