"""What a deployment recommends."""

from sweeper.deploy.advice import recommendations
from sweeper.deploy.rows import Deployment, Row, Speed


def test_an_emulated_card_recommends_nothing() -> None:
    speeds = (Speed(1, 2.0, 2.5, 500.0), Speed(8, 9.0, 9.5, 889.0))
    rows = (Row("pt", size_mib=5.2, speeds=speeds),)
    conditions = {"device": "Emulated t4", "gpu": True, "emulated": True}
    _, *targets = recommendations(Deployment("s", "trial 0", conditions, rows, ()))
    assert len(targets) == 3
    assert {use for _, use, _ in targets} == {"–"}
    assert all("the GPU was emulated" in why for *_, why in targets)
