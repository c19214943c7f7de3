"""Class statistics of a data set, and its thresholds."""
