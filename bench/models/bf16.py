"""bf16: weights that are cast once for a network under autocast, and where a CPU is slow at it."""

from __future__ import annotations

import platform
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

# The layers whose weights autocast casts, on every kind of device.
LAYERS = (nn.Linear, *(getattr(nn, f"Conv{transpose}{d}d") for transpose in ("", "Transpose") for d in (1, 2, 3)))
CPUS = Path("/proc/cpuinfo")
X86 = ("x86_64", "amd64")
FLAGS = {"bf16": {"bf16"}, "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"}}  # of CPUs, where torch does not say

_State = tuple[tuple[int, int], ...]  # address and version of each parameter: another state has other weights
_copies: weakref.WeakKeyDictionary[nn.Module, tuple[_State, list[Tensor]]] = weakref.WeakKeyDictionary()


@contextmanager
def cast_weights(network: object) -> Iterator[None]:
    """Hold in bf16, within the block, the weights that autocast would cast at every call.

    They are cast the first time, and the copies are used again until the weights change or `forget_copies` is called.
    Results equal those of autocast alone: the layer of the first parameter stays in float32, because networks of
    diffusers cast what enters their layers to that parameter's type.

    Args:
        network: anything but a module in float32 is left as it is, and so is a network whose layers visit the device.
    """
    parameters = _castable(network) if isinstance(network, nn.Module) and not hasattr(network, "runs_on") else []
    originals = [p.data for p in parameters]
    try:
        for p, copy in zip(parameters, _copies_of(network, parameters) if parameters else (), strict=True):
            p.data = copy
        yield
    finally:
        for p, original in zip(parameters, originals, strict=True):
            p.data = original


def forget_copies(network: nn.Module) -> None:
    """Free the copies of a network's weights, as when it leaves its device."""
    _copies.pop(network, None)


def castable_bytes(network: nn.Module) -> int:
    """Return the bytes of the copies that `cast_weights` makes."""
    return sum(2 * p.numel() for p in _castable(network))


def _castable(network: nn.Module) -> list[nn.Parameter]:
    """Return the float32 parameters of a network that belong to `LAYERS` alone, except those of the first layer."""
    first = next(network.parameters(), None)
    layers, others = [], set[int]()
    for module in network.modules():
        parameters = list(module.parameters(recurse=False))
        if isinstance(module, LAYERS) and not any(p is first for p in parameters):
            layers += [p for p in parameters if p.dtype == torch.float32]
        else:
            others |= {id(p) for p in parameters}
    return list({id(p): p for p in layers if id(p) not in others}.values())


def _copies_of(network: object, parameters: list[nn.Parameter]) -> list[Tensor]:
    assert isinstance(network, nn.Module)
    state = tuple((p.data_ptr(), p._version) for p in parameters)
    if network not in _copies or _copies[network][0] != state:
        _copies[network] = state, [p.data.to(torch.bfloat16) for p in parameters]
    return _copies[network][1]


def fast_on_cpu(precision: str) -> bool:
    """Return whether this CPU has instructions that make "bf16" or "fp16" no slower than fp32.

    bf16: AVX512-BF16 or AMX on x86, the bf16 extension on ARM. fp16: AVX512-FP16 or AMX-FP16, or ARM's half precision.
    """
    if precision == "bf16" and platform.machine().lower() in X86:
        if torch.backends.cpu.get_cpu_capability() != "AVX512":
            return False
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return not FLAGS[precision].isdisjoint(_cpu_flags())


def _cpu_flags() -> set[str]:
    """Return the features of a CPU of this machine; an empty set where the system has no list of them."""
    try:
        lines = [line.partition(":") for line in CPUS.read_text().splitlines()]
    except OSError:  # not Linux
        return set()
    return next(
        (set(values.split()) for key, _, values in lines if key.strip().lower() in ("flags", "features")), set()
    )


def slow_sentence(settings: Mapping[str, object], device: str = "cpu") -> str | None:
    """Return a sentence about settings that make a run slower on this CPU; None for a GPU, or where none does.

    Args:
        settings: name of the setting to its value, such as {"precision": "bf16"}.
        device: a torch device.
    """
    slow = [name for name, value in settings.items() if value in FLAGS and not fast_on_cpu(str(value))]
    if not slow or torch.device(device).type != "cpu":
        return None
    shown = " and ".join(f"{name}: {settings[name]}" for name in slow)
    needed = {"bf16": "AVX512-BF16 nor AMX", "fp16": "AVX512-FP16 nor AMX-FP16"}[str(settings[slow[0]])]
    return (
        f"{shown} is slower than fp32 on this CPU, 2 to 7 times by measurement, since it has neither {needed}; take "
        "fp32, or a GPU"
    )
