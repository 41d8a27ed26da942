"""What compiles can be saved: transforms, complex numbers, factorisations, rare functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from slowness import slow_but
from torch import Tensor, fft, linalg, nn, special

import igc

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

Call = Callable[[Tensor], Tensor]


def definite(x: Tensor) -> Tensor:
    return x @ x.mT + 5 * torch.eye(4)


CALLS: dict[str, Call] = {
    "filter": lambda x: fft.irfft2(
        fft.rfft2(x) * torch.view_as_complex(torch.ones(4, 3, 2)), s=x.shape[-2:]
    ),
    "real": lambda x: fft.fft2(x).real,
    "imaginary": lambda x: fft.ifft(x).imag,
    "magnitude": lambda x: fft.fftn(x, dim=(1, 2)).abs(),
    "as pairs": lambda x: torch.view_as_real(fft.rfftn(x, dim=(1, 2))),
    "back": lambda x: fft.irfftn(fft.rfftn(x, dim=(1, 2)), s=(4, 4), dim=(1, 2)),
    "hermitian": lambda x: fft.hfft(x),
    "shifted": lambda x: fft.ifftshift(fft.fftshift(x, dim=(1, 2)), dim=2),
    "conjugate": lambda x: (fft.rfft(x) * fft.rfft(x).conj()).real,
    "complex": lambda x: fft.irfft(torch.complex(x, x)),
    "polar": lambda x: torch.polar(x.abs(), x).real,
    "short time": lambda x: torch.stft(
        x.flatten(1), 8, window=torch.hann_window(8), return_complex=True
    ).abs(),
    "inverse": lambda x: linalg.inv(definite(x)),
    "solve": lambda x: linalg.solve(definite(x), x),
    "triangular": lambda x: linalg.solve_triangular(
        x.triu() + 5 * torch.eye(4), x, upper=True
    ),
    "cholesky": lambda x: linalg.cholesky(definite(x)),
    "determinant": lambda x: linalg.det(x),
    "log determinant": lambda x: linalg.slogdet(definite(x))[1],
    "singular values": lambda x: linalg.svd(x)[1] + linalg.svdvals(x),
    "eigenvalues": lambda x: linalg.eigvalsh(definite(x)) + linalg.eigh(definite(x))[0],
    "pseudo inverse": lambda x: linalg.pinv(definite(x)),
    "exponential": lambda x: linalg.matrix_exp(x) + linalg.matrix_power(x, 3),
    "orthogonal": lambda x: linalg.qr(x)[1].abs(),
    "distances": lambda x: torch.cdist(x, x + 1),
    "special": lambda x: special.erfcx(x) + special.i0e(x) + special.log_ndtr(x) + torch.i0(x),
}  # fmt: skip
QUICK = ("filter", "conjugate", "short time", "inverse", "special")


class Net(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.call, self.a = call, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.a(x))


@pytest.mark.parametrize("name", slow_but(QUICK, CALLS))
def test_what_compiles_can_be_saved(name: str, tmp_path: Path) -> None:
    net, x = Net(CALLS[name]).eval(), torch.randn(2, 4, 4)
    static = igc.compile(net, (x,))
    igc.save(net, tmp_path / "gated.pt", (x,))
    static.save(tmp_path / "static.pt")
    expected = net(x)
    atol = 64 * torch.finfo(torch.float32).eps * float(expected.abs().max())
    for run in (igc.load(tmp_path / "gated.pt"), igc.load(tmp_path / "static.pt"), static):
        torch.testing.assert_close(run(x), expected, atol=atol, rtol=0)
