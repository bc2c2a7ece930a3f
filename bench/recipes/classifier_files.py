"""Write the folders of trained attribute classifiers, which the extractors of evaluators/ read."""

from __future__ import annotations

from pathlib import Path

from bench.storage.files import write_bytes, write_json
from evaluators.classifiers.files import CONFIG, HELDOUT, WEIGHTS, network_config, network_weights
from evaluators.classifiers.linear_probe import LinearProbe, probe_config, probe_heldout, probe_weights
from evaluators.classifiers.network import AttributeNetwork


def save_network(network: AttributeNetwork, folder: Path) -> None:
    """Write a network's weights, in half precision, and its configuration; `load_network` reads them.

    Raises:
        ConfigError: the folder cannot be written.
    """
    write_bytes(folder / WEIGHTS, network_weights(network))
    write_json(folder / CONFIG, network_config(network))


def save_probe(probe: LinearProbe, folder: Path) -> None:
    """Write a linear probe's arrays, configuration and held-out confusion; `load_probe` reads them.

    Raises:
        ConfigError: the folder cannot be written.
    """
    write_bytes(folder / WEIGHTS, probe_weights(probe))
    write_json(folder / CONFIG, probe_config(probe))
    write_json(folder / HELDOUT, probe_heldout(probe))
