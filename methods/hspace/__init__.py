"""Shared by the methods that steer the bottleneck (h-space): the attribute distribution predictor and the step."""
