"""Atomic files, the store of arrays, buckets and downloads."""
