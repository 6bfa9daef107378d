import optuna
import pytest

from sweeper.study.pruner import make_pruner


@pytest.mark.parametrize("name", ["percentile", "median", "asha"])
@pytest.mark.parametrize(("epochs", "first"), [(4, 2), (6, 2), (12, 4), (30, 10)])
def test_a_bad_trial_is_given_up_after_a_third_and_no_earlier(
    name: str, epochs: int, first: int
) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, epochs))
    for good in (0.5, 0.6, 0.7, 0.8):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(good * epoch / epochs, epoch)
            trial.should_prune()
        study.tell(trial, good)
    bad = study.ask()
    for epoch in range(1, epochs + 1):
        bad.report(0.0, epoch)
        if bad.should_prune():
            break
    assert epoch == first
