"""The address of a study's runs in MLflow's UI."""

from __future__ import annotations

from urllib.parse import urlencode

from sweeper.passwords import without_password

LOCAL_UI = "http://127.0.0.1:5000"  # of make ui


def runs_page(uri: str, experiment_id: str, study: str) -> str:
    """Where the UI lists runs, the best first: it opens with pages for GenAI applications."""
    if not uri.startswith(("http", "sqlite:")):
        return ""
    server = without_password(uri) if uri.startswith("http") else LOCAL_UI
    wanted = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.study = '{study}'",
        "orderByKey": "metrics.`map50`",
        "orderByAsc": "false",
    }
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(wanted)}"
