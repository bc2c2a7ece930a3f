"""The plug-ins of other packages that a suite names, for its records: package, version and digest of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from bench.config.build import built_settings
from bench.config.suite import Suite
from bench.core.plugins import Kind, module_of, package_of
from bench.core.source_digest import source_digest


def plugins_of(suite: Suite) -> dict[str, JsonValue]:
    """Return the plug-ins of other packages that a suite names, by their kind and name; they are imported.

    Returns:
        Kind and name, such as "method mirrored", to the distribution's `package` and `version` and the `sha256` of the
        plug-in's source (`bench.core.source_digest`); empty if every plug-in is of the bench.
    """
    record: dict[str, JsonValue] = {}
    for called, kind, name in dict.fromkeys(_named(suite)):
        package = package_of(kind, name)
        if package is not None:
            digest = source_digest(module_of(kind, name))
            record[f"{called} {name}"] = {"package": package.name, "version": package.version, "sha256": digest}
    return record


def _named(suite: Suite) -> Iterator[tuple[str, Kind, str]]:
    for choice in suite.methods:
        yield "method", "method", choice.name
    for metric in suite.metrics:
        yield "metric", "evaluator", metric
    for spec in (*suite.classifiers, *(choice.spec for choice in suite.features)):
        yield "extractor", "evaluator", spec.name
    for method in built_settings(suite):
        if "classifier" in method.traits.needs:
            yield "extractor", "evaluator", method.classifier
    for source in suite.data.values():
        yield "data format", "data format", source.name


def plugins_text(plugins: Mapping[str, JsonValue]) -> str:
    """Return the plug-ins of a run as one text, for results.csv.

    >>> plugins_text({"method mirrored": {"package": "mine", "version": "1.2", "sha256": "0"}})
    'method mirrored: mine 1.2'
    """
    packages = {name: entry for name, entry in plugins.items() if isinstance(entry, dict)}
    return "; ".join(f"{name}: {entry['package']} {entry['version']}" for name, entry in packages.items())
