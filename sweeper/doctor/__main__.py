"""``python -m sweeper.doctor [--json] [overrides]``: exit code 1 when a check failed.

Takes the arguments of your study, those that are swept too.
"""

from __future__ import annotations

from sweeper.tools import run_tool


def main(arguments: list[str]) -> int:
    """Print each finding, or all of them as JSON, and return the exit code."""
    from sweeper.doctor.checks import full_check
    from sweeper.doctor.finding import as_json, failures
    from sweeper.executors.emulated import emulate
    from sweeper.study.space import refuse_swept_card, study_space

    as_document = "--json" in arguments
    space = study_space([a for a in arguments if a != "--json"])
    refuse_swept_card(space)
    settings = space.cells[0].settings
    emulate(settings.vram, settings.executor)
    findings = full_check(space)
    print(as_json(findings) if as_document else "\n".join(f.line for f in findings))
    return 1 if failures(findings) else 0


if __name__ == "__main__":
    run_tool(main, __doc__)
