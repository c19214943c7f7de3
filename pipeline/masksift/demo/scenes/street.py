"""Classes of the street scenes."""

from __future__ import annotations

ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, CAR, PERSON, POLE = range(8)
IGNORE = 255
CLASS_NAMES = ("road", "sidewalk", "building", "vegetation", "sky", "car", "person", "pole")
