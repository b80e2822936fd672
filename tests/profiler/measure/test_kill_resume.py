import pytest

from benchmarks.kill_resume import kill_and_resume


@pytest.mark.slow
def test_sessions_killed_at_random_moments_lose_nothing_and_repeat_nothing(tmp_path):
    outcome = kill_and_resume(tmp_path, kills=8, seed=4)
    assert outcome.kills == 8
    assert list(outcome.finished_at_kills) == sorted(outcome.finished_at_kills)
    assert outcome.finished_at_kills[-1] > 0
    assert outcome.visits > outcome.finished_at_kills[-1]
    assert outcome.median_difference < 0.02
    assert outcome.refused >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "killed.parquet",
        "killed.visits.gz",
        "other.toml",
        "quick.toml",
        "slow.toml",
        "undisturbed.parquet",
        "undisturbed.visits.gz",
    ]
