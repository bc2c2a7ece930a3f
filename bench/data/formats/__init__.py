"""One file a format of image sets on disk; the file's stem is the format's name, `bench.data.table.Format` its form."""
