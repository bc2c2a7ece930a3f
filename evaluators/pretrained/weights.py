"""Files of published weights: read as tensors, downloaded on request, and errors of loading in one line."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor

from bench.core.errors import ConfigError, Incompatible


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_tensors(path: Path, hint: str) -> dict[str, Tensor]:
    """Read the named tensors of a state dict, .safetensors or what torch.save writes; no other pickled object is read.

    Args:
        path: the file.
        hint: what to do if there is no such file, for the error's sentence.

    Raises:
        ConfigError: the file is missing or damaged, or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise ConfigError(f"no weights at {path}; {hint}") from None
    except (SafetensorError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ConfigError(f"cannot read {path}: {first_line(error)}; it is damaged or not a file of weights") from error
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise ConfigError(f"{path} must hold named tensors, got {type(stored).__name__}; give a state dict")
    return stored


def released_file(path: Path, url: str, download: bool, need: str, sha256_prefix: str | None = None) -> Path:
    """Return the path of a published file, downloading it if it is missing and `download` is set.

    Args:
        path: the file's path on this machine.
        url: address that it is published at.
        download: download it if it is missing.
        need: which extractor needs which weights, for the error's sentence.
        sha256_prefix: first digits of the file's SHA-256, checked after a download.

    Raises:
        Incompatible: the file is missing and may not, or cannot, be downloaded.
    """
    if path.is_file():
        return path
    if not download:
        raise Incompatible(
            f"{need}, got no file {path}; put {url} there, give its path as `weights`, or set `download: true`"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256_prefix, progress=False)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the hash differs
        raise Incompatible(f"{url} cannot be downloaded: {error}; fetch it elsewhere and put it at {path}") from error
    return path
