import pytest

from devices.host.watch import HostWatch


@pytest.fixture
def counters(tmp_path):
    """Writes a core's counters as the kernel does."""

    def write(core, own, package):
        folder = tmp_path / f"cpu{core}/thermal_throttle"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core_throttle_count").write_text(f"{own}\n")
        (folder / "package_throttle_count").write_text(f"{package}\n")

    return write


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize("after", [(8, 3), (7, 4)])
def test_a_count_that_rises_is_throttling_for_all_who_look_then(counters, tmp_path, after):
    counters(1, 7, 3)
    clock = Clock()
    watch = HostWatch((1,), cpu=tmp_path, clock=clock)
    assert not watch.state().throttled
    counters(1, *after)
    assert [watch.state().throttled for _ in range(3)] == [True] * 3
    assert watch.state().details["throttle_events"] == 11
    clock.now_s = 2.5
    assert not watch.state().throttled


def test_events_before_and_of_other_cores_do_not_count(counters, tmp_path):
    counters(0, 100, 0)
    counters(1, 100, 0)
    watch = HostWatch((1,), cpu=tmp_path)
    counters(0, 200, 0)
    assert not watch.state().throttled


def test_where_nothing_is_counted_nothing_is_said(tmp_path):
    state = HostWatch((0,), cpu=tmp_path).state()
    assert not state.throttled
    assert "throttle_events" not in state.details
