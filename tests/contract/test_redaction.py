"""What may not be in a log that is attached to a report."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from multimodal.contract import redaction
from multimodal.contract.log_file import log_paths, newest_log, note
from multimodal.contract.redaction import redacted

SAS = "?sv=2022-11-02&st=2024&se=2025&sr=b&sp=r&sig=AbC%2Fsecret%3D"


@pytest.mark.parametrize(
    "text",
    [
        "opening https://anna:secret@example.org/a.tif",
        f"cannot open https://store.blob.core.windows.net/c/a.tif{SAS}",
        f"/vsicurl?url=https%3A//store.blob.core.windows.net/c/a.tif&{SAS[1:]}",
        "https://example.org/a.tif?token=secret&x=1",
        "AZURE_STORAGE_SAS_TOKEN=secret AWS_SECRET_ACCESS_KEY='secret'",
        '{"api_key": "secret", "access-token": "secret"}',
        "PG:dbname=x user=anna password='secret'",
        "Authorization: Bearer secret",
        "GDAL_HTTP_HEADERS='Authorization: Basic secret=='",
        "curl -H 'authorization: token secret'",
        "using bearer secret.secret.secret",
        "HF_TOKEN=secret",
        "hf_secretSECRETsecret123",
        "Ocp-Apim-Subscription-Key: secret123",
        "?subscription-key=secret123",
        "{'x-api-key': 'secret123'}",
        "x-api-key: secret123",
        "signed by AKIAIOSFODNN7SECRET",
        "ASIASECRETSECRETSECR",
        "cloned with ghp_SECRETabcdefghijklmnop",
        "github_pat_11SECRET0abcdefgh_ijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.SECRETabc.SECRET-_",
        'Cookie: session=secret; other="secret"',
        "{'Set-Cookie': 'id=secret; Path=/', 'x': 1}",
        "GDAL_HTTP_COOKIE=id=secret",
        "https://example.org/a.tif;jsessionid=secret",
        "PASSWORD : secret",
        "password: 'secret'",
        "pwd=secret",
        "AccountName=x;AccountKey=secret==;Endpoint=y",
    ],
)
def test_no_credentials(text: str) -> None:
    assert "secret" not in redacted(text).lower().replace("aws_secret_access_key", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'/home/anna/scenes/s2.tif' is", "'~/scenes/s2.tif' is"),
        ("/vsizip//home/anna/a.zip", "/vsizip/~/a.zip"),
        ("/Users/anna/a", "~/a"),
        ("C:\\Users\\anna\\a", "~\\a"),
        ("'c:\\\\users\\\\anna\\\\a'", "'~\\\\a'"),
        ("C:/Users/anna/a", "~/a"),
        ("file:///home/anna/a", "file://~/a"),
        ("/var/home/anna/a", "~/a"),
        ("/export/home/anna/a", "~/a"),
        ("/mnt/c/Users/anna/a", "~/a"),
        ("/cygdrive/c/Users/anna/a", "~/a"),
        ("\\\\srv\\Users\\anna\\a", "~\\a"),
        ("\\\\\\\\srv\\\\Users\\\\anna\\\\a", "~\\\\a"),
        ("C:\\Users\\Anna Maria\\a", "~\\a"),
        ("cannot open /home/Anna Maria/a b.tif", "cannot open ~/a b.tif"),
        ("/Users/anna%20maria/a", "~/a"),
        ("/home/anna and more", "~ and more"),
        ("from /home/anna to /data/a", "from ~ to /data/a"),
    ],
)
def test_no_home_of_anybody(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_no_home_of_this_user_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction.Path, "home", lambda: Path("/data/people/Anna Maria"))
    redaction._homes.cache_clear()
    try:
        assert redacted('"/data/people/Anna Maria/s2.tif"') == '"~/s2.tif"'
        assert redacted("/data/people/Anna Mariana") == "/data/people/Anna Mariana"
    finally:
        redaction._homes.cache_clear()


def test_what_helps_is_kept() -> None:
    text = (
        "8 of 8 tiles to do, cuda:0 (NVIDIA H100), 4 tokens, /mnt/data/s2.tif, a@b.c 10:30, "
        "/data/var/home.tif, https://example.org/users/x, KeyError: 'B02', key: B03, AKIA, ghp_"
    )
    assert redacted(text) == text


def test_long_text_is_redacted_in_time() -> None:
    text = "POLYGON ((" + "1.5 2.5," * 100_000 + "))" + "a" * 100_000 + "/home/" * 10_000
    started = time.monotonic()
    assert redacted(text).startswith("POLYGON ((1.5 2.5,1.5")
    assert time.monotonic() - started < 20


def test_notes_go_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert newest_log() is None or tmp_path not in newest_log().parents
    log = tmp_path / "worker.log"
    note(log, "crashed at /home/anna/a \udcff")
    assert re.fullmatch(r"\S+ \S+ crashed at ~/a \\udcff\n", log.read_text())
    note(tmp_path / "no" / "folder.log", "nobody hears")
    assert len(set(log_paths())) == len(log_paths())
