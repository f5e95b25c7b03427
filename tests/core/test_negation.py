"""Direct embedding optimization: torch's own Adam, over the published loss, ends at the same vector."""

import numpy as np
import pytest
import torch

from avs_cli.core.search.negation import optimized
from avs_cli.core.search.queries import ABSENT


def by_torch(query: torch.Tensor, wanted: torch.Tensor, absent: torch.Tensor, strength: float) -> np.ndarray:
    """After 20 steps of torch's Adam over the loss, with unit length after each."""
    found = query.clone().requires_grad_()
    adam = torch.optim.Adam([found], lr=0.001)
    for _ in range(20):
        adam.zero_grad()
        near, far = torch.norm(found - wanted, dim=1).mean(), torch.norm(found - absent, dim=1).mean()
        (near + 0.2 * torch.norm(found - query) - strength * far).backward()
        adam.step()
        with torch.no_grad():
            found /= found.norm()
    return found.detach().numpy()


@pytest.mark.parametrize("counts", [(1, 1), (1, 3), (2, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_vector_is_that_of_torchs_adam(counts: tuple[int, int], strength: float) -> None:
    asked, excluded = counts
    vectors = torch.randn(asked + excluded, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    query = unit[:asked].mean(dim=0)
    found = optimized(vectors.numpy(), [1.0] * asked + [-ABSENT * strength] * excluded)
    assert found == pytest.approx(by_torch(query / query.norm(), unit[:asked], unit[asked:], strength), abs=1e-9)


def test_a_query_without_anything_to_be_absent_is_its_blend() -> None:
    vectors = np.array([[3.0, 0.0], [0.0, 2.0]])
    assert optimized(vectors, [2.0, 2.0]).tolist() == [0.5, 0.5]
