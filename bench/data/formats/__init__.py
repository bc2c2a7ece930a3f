"""Formats of image sets on disk: one file per format, named after it, with a `bench.data.table.Format`."""
