from pathlib import Path

import pytest

from tests import kill_loop


@pytest.mark.timeout(600)
def test_a_study_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    kills = kill_loop.run(tmp_path, seconds=40, seed=1)
    outcomes = kill_loop.check(tmp_path)
    assert sum(kills.values()) >= 2
    assert outcomes.get("complete", 0) >= 6
    assert outcomes.get("out_of_memory", 0) >= 1
