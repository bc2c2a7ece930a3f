"""The sampling loop."""
