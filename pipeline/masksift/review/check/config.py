"""Configuration of `masksift check`."""

from __future__ import annotations

from fractions import Fraction

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, StorageSection
from masksift.config.types import Amount
from masksift.core.errors import UsageError
from masksift.core.units import parse_amount


class CheckConfig(ConfigSection):
    """Limits to check a completed run against; at least one is required."""

    run: str = Field(min_length=1, description="URL of a completed run")
    base: str | None = Field(
        None, min_length=1, description="URL of the earlier run to compare class quality with; default: the run's base"
    )
    max_flagged: Amount | None = Field(
        None, description="largest number of flagged pixels, or share of the labeled pixels such as '2%%'"
    )
    max_quarantined: Amount | None = Field(
        None, description="largest number of quarantined images, or share of all images such as '0.1%%'"
    )
    max_drop_in_class_quality: Amount | None = Field(
        None, description="largest drop in the quality of any class since the base, in percentage points such as '5%%'"
    )
    top: int = Field(20, ge=0, description="number of quarantined images and of classes to list")
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> CheckConfig:
        if self.max_flagged is None and self.max_quarantined is None and self.max_drop_in_class_quality is None:
            raise UsageError("No limit is set", "Pass --max-flagged, --max-quarantined or --max-drop-in-class-quality")
        if self.base is not None and self.max_drop_in_class_quality is None:
            raise UsageError(
                f"base is {self.base!r}, but no limit uses it", "Pass --max-drop-in-class-quality, or omit --base"
            )
        for key, unit in (("max_flagged", "pixels"), ("max_quarantined", "images")):
            if (value := getattr(self, key)) is not None:
                parse_amount(key, value, 0, unit)
        if self.max_drop_in_class_quality is not None:
            self.max_drop()
        return self

    def max_drop(self) -> Fraction:
        """Parse the largest drop in class quality as a fraction; raises UsageError if it is not a percentage."""
        key, value = "max_drop_in_class_quality", self.max_drop_in_class_quality or 0
        if (text := str(value).strip()) != "0" and not text.endswith("%"):
            raise UsageError(f"{key} must be a percentage, got {text!r}", "Use percentage points such as '5%', or 0")
        return parse_amount(key, value, 1, "points")
