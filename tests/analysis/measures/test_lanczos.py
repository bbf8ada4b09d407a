"""Lanczos against dense eigenvalues."""

import pytest
import torch

from refconv.analysis.measures.curvature import lanczos


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_eigenvalues(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    Q, _ = torch.linalg.qr(drawn(len(values), len(values)))
    return Q @ torch.diag(values) @ Q.T


def run(A, *, steps=200, top=3, tolerance=1e-10, dtype=torch.float64):
    A = A.to(dtype)
    return lanczos(
        A.matmul, drawn(len(A), seed=1).to(dtype), steps=steps, top=top, tolerance=tolerance,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_all_eigenvalues_are_found_when_all_steps_are_taken():
    A = with_eigenvalues(drawn(30, seed=2))
    found = run(A, tolerance=0)
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(A).flip(0))
    assert found.steps == 30


def test_the_largest_are_found_early_within_their_errors_and_without_ghosts():
    values = torch.cat([torch.tensor([50.0, 40, 30]), torch.linspace(-5, 1, 297)]).double()
    found = run(with_eigenvalues(values), tolerance=1e-6)
    assert found.steps < 30
    torch.testing.assert_close(found.values[:3], values[:3], rtol=1e-9, atol=0)
    assert found.values[3] < 2  # without reorthogonalisation, copies of 50 would come up
    single = run(with_eigenvalues(values), steps=60, tolerance=0, dtype=torch.float32)
    torch.testing.assert_close(single.values[:3], values[:3], rtol=1e-5, atol=0)
    assert single.values[3] < 2


def test_errors_bound_the_distance_to_a_true_eigenvalue():
    A = with_eigenvalues(drawn(60, seed=3))
    found = run(A, steps=12, top=1, tolerance=0)
    true = torch.linalg.eigvalsh(A)
    distances = (found.values[:, None] - true).abs().amin(1)
    assert bool((distances <= found.errors + 1e-12).all())
    assert float(found.errors.max()) > 0.1


@pytest.mark.parametrize(
    "values", [[2.0, 2, 2, 1, 1], [0.0] * 4, [3.0] + [0] * 9], ids=["repeated", "zero", "rank-one"]
)
def test_repeated_eigenvalues_are_found_as_often_as_they_occur(values):
    found = run(with_eigenvalues(values))
    expected = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    torch.testing.assert_close(found.values, expected, atol=1e-9, rtol=1e-9)
