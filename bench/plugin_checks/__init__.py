"""Contract checks of plug-ins: what methods, evaluators, extractors and models declare, measured.

`fairdiff-bench check-plugin NAME` and the contract tests run the same checks.
"""
