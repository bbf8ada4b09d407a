"""Small networks with the characteristic block of a paper live the whole life of a refocused network."""

import pytest

from literature import applications, mixers, operators, stages
from literature.life import live

pytestmark = pytest.mark.literature
CASES = mixers.CASES | stages.CASES | operators.CASES | applications.CASES


@pytest.mark.parametrize("name", CASES)
def test_block_lives(name):
    live(CASES[name])


def test_no_case_hides_another():
    assert len(CASES) == sum(len(part.CASES) for part in (mixers, stages, operators, applications))
