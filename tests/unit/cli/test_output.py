"""What people see is aligned, fits the terminal and cannot steer it; what programs see is JSON with a version."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore import clock
from snapstore.cli import output
from snapstore.cli.session import Session

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_sizes(value: int, text: str) -> None:
    assert output.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (0.4, "now"), (59, "59s ago"), (60, "1m ago"), (7_300, "2h ago"), (86_400 * 3, "3d ago"), (-90, "in 1m")],
)
def test_relative_times(monkeypatch: pytest.MonkeyPatch, seconds: float, text: str) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: NOW_MS)
    moment = datetime.datetime.fromtimestamp(NOW_MS / 1000 - seconds, datetime.UTC)
    assert output.ago(moment) == text
    assert output.when(moment).endswith(f"Z ({text})")


def test_times_in_json_are_utc_with_milliseconds() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert output.iso(datetime.datetime(2026, 1, 1, 1, 30, 0, 123456, zone)) == "2025-12-31T23:30:00.123Z"


def test_documents_have_a_version_and_keep_odd_values() -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    text = output.to_json("x", {"a": b"\x00", "b": (1,), "c": {2}, "d": moment, "e": "ü"})
    assert "ü" in text
    assert "\n" not in text
    assert json.loads(text) == {
        "schema_version": 1,
        "type": "x",
        "a": {"base64": "AA=="},
        "b": [1],
        "c": [2],
        "d": "2026-01-01T00:00:00.000Z",
        "e": "ü",
    }


@given(st.text(), st.integers(1, 40))
def test_cut_text_fits_and_is_printable(text: str, columns: int) -> None:
    shown = output.cut(output.printable(text), columns)
    assert shown.isprintable()
    assert output.columns_of(shown) <= columns
    if output.columns_of(output.printable(text)) <= columns:
        assert shown == output.printable(text)


class Screen(Session):
    """A session on a terminal of 60 columns, without colours."""

    on_terminal = True
    colored = False


def test_a_table_is_aligned_and_cut_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: SimpleNamespace(columns=60, lines=20))
    rows: list[list[Any]] = [["a", "1"], ["漢字" * 30, "22"], ["b\x1b[2J", "3"]]
    output.table(Session(), ["NAME", "N"], rows, right={1})
    whole = capsys.readouterr().out.splitlines()
    assert len({output.columns_of(line) for line in whole}) == 1
    assert "\x1b" not in "".join(whole)
    output.table(Screen(), ["NAME", "N"], rows, right={1})
    assert all(output.columns_of(line) <= 60 for line in capsys.readouterr().out.splitlines())


def test_ids_are_short_on_a_terminal_when_they_are_random() -> None:
    uuid, digest, named = "0a1b2c3d-0000-4000-8000-0123456789ab", "ab" * 16, "airline/3/0/12-abcdef"
    assert [output.short_id(id, Session()) for id in (uuid, digest, named)] == [uuid, digest, named]
    assert [output.short_id(id, Screen()) for id in (uuid, digest, named)] == [uuid[:12], digest[:12], named]


def test_ratios() -> None:
    assert [output.ratio(100, 0), output.ratio(34, 10), output.ratio(143_000, 1)] == ["-", "3.4x", "143,000x"]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(40, 200), st.integers(0, 12))
def test_columns_fit_and_those_asked_for_come_first(widths: list[int], limit: int, asked: int) -> None:
    asked = min(asked, len(widths))
    shown = output.fitting(widths, limit, asked)
    assert sum(shown) + 2 * (len(shown) - 1) <= limit
    assert shown
    assert all(min(width, 12) <= given <= width for given, width in zip(shown, widths, strict=False))
    if sum(widths) + 2 * (len(widths) - 1) <= limit:
        assert shown == widths
    elif asked and sum(widths[:asked]) + 2 * (asked - 1) <= limit:
        assert shown[:asked] == widths[:asked]
    elif shown != widths[: len(shown)]:  # no column is cut while a wider one is whole, and no room is left over
        cut = [given for given, width in zip(shown[:asked], widths, strict=False) if given < width]
        assert all(max(shown[:asked]) == given for given in cut)


def test_wide_cells_share_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: SimpleNamespace(columns=60, lines=20))
    hidden = output.table(Screen(), ["id", "a", "b", "last"], [["x", "a" * 200, "b" * 200, "1"]], asked=3)
    lines = capsys.readouterr().out.splitlines()
    assert (hidden, lines[1]) == (["last"], f"x   {'a' * 26}…  {'b' * 26}…")
