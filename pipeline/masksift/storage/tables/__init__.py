"""Read and write Arrow and Parquet tables and Iceberg catalogs."""
