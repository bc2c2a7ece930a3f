"""What the methods that steer the bottleneck (h-space) share: the attribute distribution predictor and the step."""
