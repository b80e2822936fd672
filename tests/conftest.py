"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("devices.testing")

pytest_plugins = ("tests.phone.fixtures",)

# The same examples in every run, and no time limit for one: a busy machine is no failure.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
