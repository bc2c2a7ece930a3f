"""One file a layout of image sets on disk; the file's stem is the layout's name, `bench.data.table.Layout` its form."""
