"""The read model of a finished run."""
