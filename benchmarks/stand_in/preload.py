"""For sweeper.executors.preload: the fork server has nothing to import."""

import signal

for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
