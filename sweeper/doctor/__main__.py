"""``python -m sweeper.doctor [--json] [overrides]``: exit code 1 when a check failed."""

from __future__ import annotations

from sweeper.tools import run_tool


def main(arguments: list[str]) -> int:
    """Print each finding, or all of them as JSON, and return the exit code."""
    from sweeper.config.compose import compose_settings
    from sweeper.doctor.checks import full_check
    from sweeper.doctor.finding import as_json, failures
    from sweeper.executors.emulated import emulate

    as_document = "--json" in arguments
    settings = compose_settings([a for a in arguments if a != "--json"])
    emulate(settings.vram, settings.executor)
    findings = full_check(settings)
    print(as_json(findings) if as_document else "\n".join(f.line for f in findings))
    return 1 if failures(findings) else 0


if __name__ == "__main__":
    run_tool(main, __doc__)
