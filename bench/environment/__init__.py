"""The installation, and what a suite needs from elsewhere."""
