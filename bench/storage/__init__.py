"""Files, the store of arrays, buckets and downloads."""
