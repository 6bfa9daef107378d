"""``python -m sweeper.gpu_check [overrides]``: ten minutes on a card, a report to pass on.

Exit code 1 when something was found that must not be.
"""

from __future__ import annotations

from sweeper.tools import run_tool


def main(overrides: list[str]) -> int:
    """Check the first card, write the report, and return 1 when something must be mended."""
    from sweeper.gpu_check.check import check_card

    return check_card(overrides)


if __name__ == "__main__":
    run_tool(main, __doc__)
