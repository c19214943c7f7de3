"""Access to Zarr, Parquet, object stores and catalogs: the only package that opens them."""
