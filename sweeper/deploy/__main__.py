"""``python -m sweeper.deploy [study.name=NAME | deploy.weights=PATH]``."""

from __future__ import annotations

from sweeper.tools import run_tool


def main(overrides: list[str]) -> int:
    """Deploy, print the document, and return 1 when an export failed."""
    from sweeper.config.compose import compose_settings
    from sweeper.deploy.arguments import refuse_unread
    from sweeper.deploy.document import render
    from sweeper.deploy.rows import Status
    from sweeper.deploy.run import deploy
    from sweeper.executors.emulated import emulate

    settings = compose_settings(overrides)
    refuse_unread(overrides, settings)
    emulate(settings.vram, settings.executor)
    deployment, folder = deploy(settings, print)
    print(render(deployment))
    print(f"written to {folder}")
    return 1 if any(r.status is Status.FAILED for r in deployment.rows) else 0


if __name__ == "__main__":
    run_tool(main, __doc__)
