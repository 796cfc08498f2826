"""State fields as a Daft data frame.

```python
from snapstore.adapters.daft import SnapstoreSource

SnapstoreSource("s3://bucket/runs", ["cost", "messages[*].role"], graph="support").read()
```

Workers need snapstore and the storage's credentials; `storage_options` are sent to them. Daft calls its interface for sources
early; this follows daft 0.6 and 0.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from daft.io.pushdowns import Pushdowns
from daft.io.source import DataSource, DataSourceTask
from daft.recordbatch import RecordBatch
from daft.schema import Schema

from snapstore.adapters.engines import Part, planned

__all__ = ["SnapstoreSource"]


class SnapstoreSource(DataSource):
    """A scan as a source of Daft.

    Args:
        url: of the archive.
        paths: see `snapstore.scan.paths`.
        **options: as in `snapstore.adapters.engines.planned`.
    """

    def __init__(self, url: str, paths: str | Sequence[str] | Mapping[str, str], **options: Any) -> None:
        self._plan = planned(url, paths, **options)

    @property
    def name(self) -> str:
        """What plans call it."""
        return "snapstore"

    @property
    def schema(self) -> Schema:
        """The columns of the scan."""
        return Schema.from_pyarrow_schema(self._plan.schema)

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:  # noqa: ARG002 - Daft applies them
        """One per part of the scan."""
        for part in self._plan.parts:
            yield _Task(part)


class _Task(DataSourceTask):
    def __init__(self, part: Part) -> None:
        self._part = part

    @property
    def schema(self) -> Schema:
        """The columns of the scan."""
        return Schema.from_pyarrow_schema(self._part.task.schema)

    async def read(self) -> AsyncIterator[RecordBatch]:
        """The batches of the part."""
        for batch in self._part.read():
            yield RecordBatch.from_arrow_record_batches([batch], batch.schema)
