"""MLflow as a user opens it: a real server and a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from tests.mlflow_server import running

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium or google-chrome on the PATH"
)

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--hide-scrollbars"),
    "--window-size=1700,1200",  # the list of runs renders only the rows that it shows
)
RENDER_MS = 20_000  # of the page's own clock, which runs ahead while nothing is loading
ATTEMPTS = 3  # the page may still be loading when its clock runs out on a busy machine

Page = Callable[[str, str], str]


@pytest.fixture(scope="module")
def server(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server over the published study."""
    with running(published / "mlflow.db", tmp_path_factory.mktemp("server")) as server:
        yield server.uri


@pytest.fixture
def page(server: str, tmp_path: Path) -> Page:
    """Renders a page of the UI and returns its DOM, once ``wanted`` is in it."""

    def render(path: str, wanted: str) -> str:
        for _ in range(ATTEMPTS):
            dom = browse(f"{server}/#{path}", tmp_path)
            if wanted in dom:
                break
        return dom

    return render


def browse(address: str, folder: Path) -> str:
    """The DOM of a page after its scripts have run."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, *QUIET, f"--user-data-dir={folder}/profile"),
            *(f"--virtual-time-budget={RENDER_MS}", "--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def parent(published: Path) -> str:
    """The run id of the study."""
    client = MlflowClient(f"sqlite:///{published}/mlflow.db")
    return client.search_runs(["1"], "tags.kind = 'study'")[0].info.run_id


def test_the_parent_run_shows_the_answer(page: Page, parent: str) -> None:
    dom = page(f"/experiments/1/runs/{parent}", "best_map50")
    assert "Use batch 4 × accumulate 4, amp on" in dom
    assert "peak 9.70 GiB of 23.65 (41 %, simulated)" in dom
    assert "best_map50" in dom and "0.419" in dom
    assert "b4×a4 amp" in dom  # a child run by its name


def test_the_parent_run_has_the_report_and_its_plots(page: Page, parent: str) -> None:
    dom = page(f"/experiments/1/runs/{parent}/artifacts", "report.md")
    assert "report.md" in dom and "report.html" in dom
    dom = page(f"/experiments/1/runs/{parent}/artifacts/report.md", "Pareto front")
    assert "What each lever is worth" in dom and "Pareto front" in dom
    dom = page(f"/experiments/1/runs/{parent}/artifacts/report/memory.png", "<img")
    assert "memory.png" in dom and "parts.png" in dom and "<img" in dom


def test_the_runs_sort_by_their_ranks_under_names_that_speak(page: Page) -> None:
    sort = "orderByKey=metrics.%60rank%60&orderByAsc=true"
    dom = page(f"/experiments/1/runs?workflowType=machine_learning&{sort}", ">b16×a1<")
    names = [">b4×a4 amp<", ">b4×a4<", ">b8×a1<", ">b4×a1<", ">b16×a1<"]
    assert [dom.find(n) for n in names] == sorted(dom.find(n) for n in names)
    assert all(n in dom for n in names)


def test_the_compare_page_has_parallel_coordinates_over_numbers(
    page: Page, published: Path
) -> None:
    runs = MlflowClient(f"sqlite:///{published}/mlflow.db").search_runs(["1"], "tags.kind='trial'")
    ids, experiments = (quote(json.dumps(x)) for x in ([r.info.run_id for r in runs], ["1"]))
    dom = page(f"/compare-runs?runs={ids}&experiments={experiments}", "parcoords")
    assert "Parallel Coordinates Plot" in dom
    axes = re.findall(r'class="axis-title"[^>]*>([^<]+)<', dom)
    assert {"accumulate", "batch", "peak_gib"} <= set(axes)


def test_the_html_report_opens_by_itself(published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "alone.html"
    shutil.copy(published / "article/report.html", copy)
    dom = browse(copy.as_uri(), tmp_path)
    assert "<title>Study article: yolo11x on coco128 within 23.65 GiB</title>" in dom
    assert dom.count('<img src="data:image/png;base64,') == 5
