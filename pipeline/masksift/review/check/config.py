"""What a check is told: one frozen value, by flags."""

from __future__ import annotations

from fractions import Fraction

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, StorageSection
from masksift.config.types import Amount
from masksift.core.errors import UsageError
from masksift.core.units import parse_amount


class CheckConfig(ConfigSection):
    """One check of a complete run: at least one limit."""

    run: str = Field(min_length=1, description="URL of a complete run")
    base: str | None = Field(
        None,
        min_length=1,
        description="URL of the earlier run that class quality is held against; default: the run's own base",
    )
    max_flagged: Amount | None = Field(
        None, description="labelled pixels that may be flagged, or a share of them such as '2%%'"
    )
    max_quarantined: Amount | None = Field(
        None, description="images that may be quarantined, or a share of them such as '0.1%%'"
    )
    max_drop_in_class_quality: Amount | None = Field(
        None, description="percentage points that the quality of any class may have lost since the base, such as '5%%'"
    )
    top: int = Field(20, ge=0, description="how many quarantined images and how many classes are named")
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> CheckConfig:
        if self.max_flagged is None and self.max_quarantined is None and self.max_drop_in_class_quality is None:
            raise UsageError(
                "no limit is given",
                "there is nothing to check",
                "Give --max-flagged, --max-quarantined or --max-drop-in-class-quality",
            )
        if self.base is not None and self.max_drop_in_class_quality is None:
            raise UsageError(
                f"base is {self.base!r}, and no drop is asked about",
                "the base would not be read",
                "Give --max-drop-in-class-quality, or leave out --base",
            )
        for key, things in (("max_flagged", "pixels"), ("max_quarantined", "images")):
            if (value := getattr(self, key)) is not None:
                parse_amount(key, value, 0, things)
        if self.max_drop_in_class_quality is not None:
            self.drop()
        return self

    def drop(self) -> Fraction:
        """What the quality of a class, a number from 0 to 1, may have lost. Raises UsageError where that is no
        share."""
        key, value = "max_drop_in_class_quality", self.max_drop_in_class_quality or 0
        if (text := str(value).strip()) != "0" and not text.endswith("%"):
            raise UsageError(
                f"{key} is {text!r}, which is no share",
                "quality is one, and so is what it loses",
                "Give percentage points such as '5%', or 0",
            )
        return parse_amount(key, value, 1, "points")
