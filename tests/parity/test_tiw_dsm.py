"""TIW-DSM's target and weight against the paper's formula and against its release, alsdudrla10/TIW-DSM at 51af8d4."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.reweighting.pool import Noised
from methods.tiw_dsm import reweighted

N, D = 16, 5


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = normal(D, seed=1)
A = torch.rand(N, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 0.8 + 0.1
X0, EPS = normal(N, D, seed=3), normal(N, D, seed=4)
X = A.sqrt() * X0 + (1 - A).sqrt() * EPS
BATCH = Noised(x0=X0, eps=EPS, x=X, t=torch.arange(N), a=A)


def logit(u: Tensor, t: Tensor) -> Tensor:
    return (u.sin() @ WEIGHT) + t / 50


def d_of(x: Tensor) -> Tensor:
    """P(reference) of x_t; the project's discriminator is a function of sqrt(a) x_t."""
    return logit(A.sqrt() * x, BATCH.t).sigmoid()


def slope(of: str) -> Tensor:
    x = X.clone().requires_grad_()
    d = d_of(x)
    (gradient,) = torch.autograd.grad((d if of == "d" else d.log()).sum(), x)
    return gradient


def v_of(x0: Tensor) -> Tensor:
    """v of a clean sample at the same x_t."""
    return A.sqrt() * (X - A.sqrt() * x0) / (1 - A).sqrt() - (1 - A).sqrt() * x0


def test_the_released_formula_moves_away_from_the_reference() -> None:
    """The x_0-target is x_0 - sigma^2 grad_x d (classifier_lib.py:358-359, training/loss.py:104).

    In EDM's variables y = x_t / sqrt(a), sigma^2 = (1 - a) / a and grad_y = sqrt(a) grad_x.
    """
    sigma2 = (1 - A) / A
    wanted = v_of(X0 - sigma2 * A.sqrt() * slope("d"))
    weight, v = reweighted(logit, BATCH, "pooled", "full", "released")
    torch.testing.assert_close(v, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight * N, (2 * d_of(X)).sum().expand(N), rtol=1e-5, atol=1e-5)
    for mutant in (v_of(X0 + sigma2 * A.sqrt() * slope("d")), v_of(X0 - sigma2 * A.sqrt() * slope("log d"))):
        assert not torch.allclose(v, mutant, rtol=1e-5, atol=1e-5)


def test_the_papers_formula_moves_towards_the_reference() -> None:
    """x_0 + (1 - a) / sqrt(a) grad_x log(2 d), weight 2 d."""
    wanted = v_of(X0 + (1 - A) / A.sqrt() * slope("log d"))
    weight, v = reweighted(logit, BATCH, "pooled")
    torch.testing.assert_close(v, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight, 2 * d_of(X), rtol=1e-5, atol=1e-5)
    for mutant in (v_of(X0 - (1 - A) / A.sqrt() * slope("log d")), v_of(X0), v_of(X0 + (1 - A) * slope("log d"))):
        assert not torch.allclose(v, mutant, rtol=1e-5, atol=1e-5)
