"""Files of a Gaussian fit, in the format of clean-fid and pytorch-fid: an .npz with mu and sigma."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from bench.core.errors import ConfigError, Undefined
from bench.core.gaussian import LARGEST, Gaussian, not_negative
from bench.storage.files import write_bytes

MAX_WIDTH = 8192  # largest number of features; their covariance takes 512 MiB
ASYMMETRY = (
    1e-6  # largest difference between sigma and its transpose, relative to its largest entry, that counts as rounding
)
EXTRACTOR = "extractor"  # third array, the digest of the extractor; other programs read mu and sigma only
HINT = "give an .npz with mu [d] and sigma [d, d], as clean-fid and pytorch-fid write it"


def write_statistics(path: Path, fitted: Gaussian, extractor: str) -> None:
    """Write a fit by atomic rename.

    Args:
        path: the file; other programs recognise it by the suffix .npz.
        fitted: the fit.
        extractor: digest of the extractor of the features.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    data = io.BytesIO()
    arrays = {"mu": fitted.mean, "sigma": fitted.covariance, EXTRACTOR: np.array(extractor)}
    np.savez(data, allow_pickle=False, **arrays)
    write_bytes(path, data.getvalue())


def read_statistics(path: Path) -> tuple[Gaussian, str | None]:
    """Read a fit of this project, clean-fid or pytorch-fid.

    No pickled object is read, and sizes are checked before any array is loaded.

    Returns:
        The fit, float64, with a symmetric, positive semi-definite covariance; and the digest of the extractor of the
        features, or None if the file does not hold it.

    Raises:
        ConfigError: the file is missing, or does not hold such a fit.
    """
    if not path.is_file():
        raise ConfigError(f"no file {path}; {HINT}")
    try:
        with zipfile.ZipFile(path) as archive:
            mean = _read(archive, "mu", path)
            covariance = _read(archive, "sigma", path)
            extractor = _read_text(archive) if f"{EXTRACTOR}.npy" in archive.namelist() else None
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {_first(error)}; {HINT}") from error
    return _checked(mean, covariance, path), extractor


def _read(archive: zipfile.ZipFile, name: str, path: Path) -> npt.NDArray[np.float64]:
    if f"{name}.npy" not in archive.namelist():
        names = ", ".join(sorted(entry.removesuffix(".npy") for entry in archive.namelist())[:8])
        raise ConfigError(f"{path} must hold mu and sigma, got no {name} among {names or 'nothing'}; {HINT}")
    with archive.open(f"{name}.npy") as f:
        shape, dtype = _header(f)
    axes = {"mu": 1, "sigma": 2}[name]
    if len(shape) != axes or len(set(shape)) != 1 or not 1 <= shape[0] <= MAX_WIDTH:
        expected = "[d]" if axes == 1 else "[d, d]"
        raise ConfigError(f"{name} of {path} must be {expected} with d from 1 to {MAX_WIDTH}, got {list(shape)}")
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise ConfigError(f"{name} of {path} must be float32 or float64, got {dtype}; {HINT}")
    with archive.open(f"{name}.npy") as f:
        return np.asarray(npy.read_array(f, allow_pickle=False), dtype=np.float64)


def _header(f: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(f)
    if version != (1, 0):  # later versions allow headers of gigabytes, which mu and sigma never need
        raise ValueError(f"its arrays must have version 1.0 of .npy, got {version[0]}.{version[1]}")
    shape, _, dtype = npy.read_array_header_1_0(f)
    return shape, dtype


def _read_text(archive: zipfile.ZipFile) -> str:
    with archive.open(f"{EXTRACTOR}.npy") as f:
        shape, dtype = _header(f)
    if shape or dtype.kind != "U" or dtype.itemsize > 1024:
        raise ValueError(f"its {EXTRACTOR} must be one short text, got {dtype} {list(shape)}")
    with archive.open(f"{EXTRACTOR}.npy") as f:
        return str(npy.read_array(f, allow_pickle=False))


def _checked(mean: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64], path: Path) -> Gaussian:
    if len(mean) != len(covariance):
        raise ConfigError(f"mu and sigma of {path} must be of one width, got {len(mean)} and {len(covariance)}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ConfigError(f"mu and sigma of {path} must be finite, got NaN or infinity; compute them again")
    if np.abs(mean).max() > LARGEST or np.abs(covariance).max() > LARGEST**2:
        raise ConfigError(
            f"mu of {path} must be below {LARGEST:g} and sigma below its square, got {np.abs(mean).max():.3g} and "
            f"{np.abs(covariance).max():.3g}; scale the features down and compute them again"
        )
    asymmetry = float(np.abs(covariance - covariance.T).max())
    if asymmetry > ASYMMETRY * float(np.abs(covariance).max()):
        raise ConfigError(f"sigma of {path} must be symmetric, got entries that differ by {asymmetry:.3g}; {HINT}")
    symmetric = (covariance + covariance.T) / 2
    try:
        not_negative(np.linalg.eigvalsh(symmetric))
    except Undefined as error:
        raise ConfigError(f"sigma of {path}: {error}") from error
    return Gaussian(mean, symmetric)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
