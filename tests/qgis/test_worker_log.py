"""The worker's log is one click away, where it helps; the human part is in QGIS's own log."""

from __future__ import annotations

from pathlib import Path

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QDesktopServices

from mm_qgis_plugin.about import LOG_TAG
from mm_qgis_plugin.core.contract.errors import JobError, WorkerSilentError
from mm_qgis_plugin.core.contract.log_file import log_paths
from mm_qgis_plugin.gui.dock import ClassifyDock
from mm_qgis_plugin.gui.worker_log import log_helps


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = log_paths()[1]
    path.parent.mkdir(parents=True)
    path.write_text("what happened")
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[QUrl]:
    urls: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: urls.append(url) or True)
    return urls


@pytest.fixture
def _no_worker(qgis_app) -> None:
    from mm_qgis_plugin.worker import session_worker

    session_worker().close()  # its own log would win


@pytest.fixture
def dock(_no_worker, dock: ClassifyDock) -> ClassifyDock:
    return dock


def test_a_crash_offers_the_log_and_stands_in_the_log_of_qgis(
    dock: ClassifyDock, log: Path, opened: list[QUrl], fake_worker, spin_until
) -> None:
    logged: list[tuple[str, str]] = []
    QgsApplication.messageLog().messageReceived.connect(
        lambda text, tag, level: logged.append((tag, text))
    )
    fake_worker("segfault")
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None)
    assert "SIGSEGV" in dock.panel.message.text()
    assert dock.panel.remedy.text() == "Show log"
    assert any(tag == LOG_TAG and "in segfault" in text for tag, text in logged)
    dock.panel.remedy.click()
    assert [url.toLocalFile() for url in opened] == [str(log)]


def test_the_log_can_be_shown_at_any_time(
    dock: ClassifyDock, log: Path, opened: list[QUrl], qgis_iface
) -> None:
    dock.advanced.show_log.click()
    assert [url.toLocalFile() for url in opened] == [str(log)]
    assert "The worker's log" in "".join(qgis_iface.messageBar().get_messages(0))
    log.unlink()
    dock.advanced.show_log.click()
    assert len(opened) == 1
    assert "no log yet" in "".join(qgis_iface.messageBar().get_messages(0))


def test_it_is_offered_where_it_helps_alone(dock: ClassifyDock, log: Path) -> None:
    assert log_helps(WorkerSilentError("hung"))
    assert not log_helps(JobError("the user's to mend"))
    log.unlink()
    assert not log_helps(WorkerSilentError("hung"))
