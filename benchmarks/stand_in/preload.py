"""For sweeper.executors.preload: the fork server imports what waits, as it would what trains."""

from sweeper.fork_server import become_server

become_server()

import sweeper.executors.supervise  # noqa: E402
import sweeper.training.run  # noqa: E402, F401
from sweeper.trial.json_text import adapter  # noqa: E402
from sweeper.trial.spec import TrialSpec  # noqa: E402

adapter(TrialSpec)
