"""The memory of a model on its device: its weights, and the peak of one row and of one decoded image.

    denoising = weights + rows x KERNELS x (peak of the tensors alive in a call on one row, its backward pass included
                where a method makes one)
    decoding  = weights + decode_batch x KERNELS x (peak of the tensors alive while one image is decoded)

Tensors are counted as PyTorch's dispatcher hands them out, on any device. Not counted: what an allocator keeps beyond
what is in use, PyTorch itself and its GPU context, classifiers and extractors, and networks that methods train.
docs/dry-run.md says how far from the truth that was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.config.build import built_settings
from bench.core.errors import ConfigError
from bench.core.units import GIB
from bench.engine.jobs import out_of_memory
from bench.models.adapter import Adapter
from bench.models.bf16 import castable_bytes
from bench.models.latent import LatentModel
from bench.models.offload import device_of

if TYPE_CHECKING:
    from bench.engine.preflight import RunPlan

KERNELS = 1.5  # for what kernels take for themselves, convolutions most of all: 1.3 to 1.7 measured on a CPU


@dataclass(frozen=True)
class MemoryEstimate:
    """Approximate bytes of a model on its device.

    Attributes:
        network: of the denoiser's weights, with their copies in bf16 where the run computes so; of its largest layer,
            where layers visit the device one by one.
        autoencoder: of the autoencoder's likewise; 0 without one.
        together: True if both are on the device at once.
        row: of what a call on one row keeps alive at most.
        image: of what decoding one image keeps alive at most.
        decode_batch: images that are decoded at once.
        gradient: True if `row` is that of a call with its backward pass.
    """

    network: int
    autoencoder: int
    together: bool
    row: int
    image: int
    decode_batch: int
    gradient: bool

    @property
    def weights(self) -> int:
        """Peak bytes of the weights."""
        both = self.network, self.autoencoder
        return sum(both) if self.together else max(both)

    def peak(self, rows: int) -> int:
        """Return the peak bytes at a compute batch of `rows`."""
        denoising, decoding = rows * self.row, self.decode_batch * self.image
        if self.together:
            return self.weights + max(denoising, decoding)
        return max(self.network + denoising, self.autoencoder + decoding)

    def largest_batch(self, free: float) -> int:
        """Return the largest compute batch whose denoising fits into `free` bytes; 0 if none does."""
        held = self.weights if self.together else self.network
        return max(int((free - held) // self.row), 0)


def estimate_of(plan: RunPlan) -> MemoryEstimate:
    """Return the memory of a run's model, with a backward pass where a method makes one through the network."""
    gradient = any(method.traits.backward for method in built_settings(plan.suite))
    sampling = plan.jobs[0].parts[0].sampling
    model: Any = plan.resources.model(sampling.model, sampling.device).model
    return estimate_memory(model, gradient, bf16=sampling.sampler.precision == "bf16")


def estimate_memory(model: Adapter, gradient: bool, bf16: bool = False) -> MemoryEstimate:
    """Estimate the memory of a model, from one call on one row of noise and one decoded image.

    Args:
        model: loaded; an accelerator's memory is asked for as a run does.
        gradient: whether a method of the run needs a backward pass through the network.
        bf16: whether the run computes in bf16.
    """
    x = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)
    t = torch.full((1,), len(model.alphas_cumprod) // 2, dtype=torch.int64, device=model.device)

    def call() -> None:
        with torch.set_grad_enabled(gradient):
            out = model.denoise(x.requires_grad_(gradient), t, torch.zeros_like(t))
            if gradient:
                torch.autograd.grad(out.sum(), x)

    row, image, decode_batch, second = int(KERNELS * peak_of(call)), 0, 0, None
    if isinstance(model, LatentModel):
        second, decode_batch = model.autoencoder.network, model.autoencoder.batch
        image = int(KERNELS * peak_of(lambda: model.decode(x.detach())))
    networks = [network for network in (model.network, second) if network is not None]
    visiting = [next(n.parameters()).device != device_of(n) for n in networks]
    held = [_largest_layer(n) if away else _bytes(_tensors(n)) for n, away in zip(networks, visiting, strict=True)]
    if bf16 and not visiting[0]:
        held[0] += castable_bytes(model.network)
    apart = len(networks) > 1 and device_of(networks[0]) != device_of(networks[1])
    return MemoryEstimate(
        held[0], held[1] if second is not None else 0, not (apart or any(visiting)), row, image, decode_batch, gradient
    )


def memory_warning(plan: RunPlan) -> str | None:
    """Return a warning for a run on a GPU of this machine whose memory will run short; None where there is enough.

    Raises:
        ConfigError: not even one image fits.
    """
    options, device = plan.options, plan.options.device
    processes = 1 if options.processes else options.workers or 1  # that hold a copy of the model on the device each
    free = free_memory(device)
    if free is None:
        return None
    try:
        estimate = estimate_of(plan)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(
            f"{device} has no room for one image of model {plan.suite.model.title}; give the model another dtype, or "
            "offload, or another device"
        ) from error
    return shortage(estimate, plan.jobs[0].sampling.compute_batch, processes, device, free + estimate.weights)


def shortage(estimate: MemoryEstimate, rows: int, processes: int, device: str, free: float) -> str | None:
    """Return a warning if a run's memory will run short; None if there is enough.

    Args:
        estimate: of the model.
        rows: the compute batch.
        processes: that hold a copy of the model on the device each.
        device: its name.
        free: bytes that these processes may use of it.
    """
    share = free / processes
    if estimate.peak(rows) <= share:
        return None
    fits = estimate.largest_batch(share)
    advice = f"give --compute-batch {min(fits, rows)}" if fits >= 1 else "give the model another dtype, or offload"
    if estimate.peak(max(min(fits, rows), 1)) > share and fits >= 1:  # decoding is what does not fit
        advice = f"{advice}, and the model a decode_batch below {estimate.decode_batch}"
    where = f" in each of {processes} workers" if processes > 1 else ""
    return (
        f"warning: a compute batch of {rows} takes about {estimate.peak(rows) / GIB:.1f} GiB of {device}{where}, which "
        f"has {free / GIB:.1f} GiB; {advice}"
    )


def free_memory(device: str) -> int | None:
    """Return the bytes of a GPU's memory that this process could still get; None if it is not a CUDA device."""
    if torch.device(device).type != "cuda":
        return None
    cached: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + cached


class LiveBytes(TorchDispatchMode):
    """Counter of the bytes of all tensors made while it is active, and of their peak.

    Attributes:
        peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._alive = 0
        self._alive_storages: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in inputs:
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive_storages:
            return
        self._alive_storages[key] = weakref.finalize(storage, self._remove, key, size)
        self._alive += size
        self.peak = max(self.peak, self._alive)

    def _remove(self, key: int, size: int) -> None:
        self._alive_storages.pop(key, None)
        self._alive -= size


def peak_of(call: Callable[[], object]) -> int:
    """Return the peak bytes of the tensors that a call makes."""
    live = LiveBytes()
    with live:
        call()
    return live.peak


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _largest_layer(network: nn.Module) -> int:
    leaves = (m for m in network.modules() if next(m.children(), None) is None)
    return max(_bytes(_tensors(leaf)) for leaf in leaves)
