"""Sources made of text, and the real histories when they are beside the checkout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapstore.importers import Source

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture
def source() -> Callable[..., Source]:
    """Return a maker of sources: bytes or text as they are, lists of records as JSON lines, a dict as a document."""

    def make(content: Any, *, name: str = "file", run: str | None = None) -> Source:
        if isinstance(content, dict):
            content = json.dumps(content)
        if isinstance(content, list):
            content = "".join(json.dumps(record) + "\n" for record in content)
        data = content.encode() if isinstance(content, str) else content
        return Source(f"{name}.x", name, len(data), lambda: io.BytesIO(data), run)

    return make


@pytest.fixture
def data() -> Path:
    """Return the folder of real histories."""
    if not DATA.is_dir():
        pytest.skip(f"real histories are not at {DATA.name}/ beside the checkout")
    return DATA
