"""Writers that create a source where a model runs."""
