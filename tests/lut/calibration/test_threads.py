"""One thread within, and as many as before for what asks for them, and afterwards."""

import pytest
import torch

from lut.calibration.threads import Threads, one_thread


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_within_there_is_one_and_a_function_may_have_all():
    before = Threads.now()
    assert before.torch == 2
    with one_thread() as outside:
        assert Threads.now() == Threads(1, 1)
        assert outside.given(Threads.now)() == outside == before
        assert Threads.now() == Threads(1, 1)
    assert Threads.now() == before


def test_an_error_leaves_things_as_they_were():
    before = Threads.now()
    with pytest.raises(ValueError, match="no"), one_thread() as outside:
        outside.given(int)("no")
    assert Threads.now() == before
