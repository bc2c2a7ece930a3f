"""The protocols of methods, evaluators, extractors, models and image sets."""
