"""Read and write Zarr arrays with validation, prefetching and retries."""
