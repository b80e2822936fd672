"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("devices.testing")

pytest_plugins = ("tests.phone.fixtures",)

# The same examples in every run, and no time limit for one: a busy machine is no failure.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exported files of tests are kept for the session, and apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
