"""The only rooms that touch a store: arrays (Zarr), tables (Parquet), the manifest of a run, and plain objects."""
