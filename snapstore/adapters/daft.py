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

from snapstore.adapters.engines import planned
from snapstore.scan.planning import ScanTask

__all__ = ["SnapstoreSource"]


class SnapstoreSource(DataSource):
    """A scan as a source of Daft.

    Args:
        url: of the archive.
        paths: see `snapstore.scan.paths`.
        **options: as in `snapstore.adapters.engines.planned`.
    """

    def __init__(self, url: str, paths: str | Sequence[str] | Mapping[str, str], **options: Any) -> None:
        with planned(url, paths, **options) as scan:
            self._tasks, self._schema = scan.tasks, Schema.from_pyarrow_schema(scan.schema)
        self._storage_options = options.get("storage_options")

    @property
    def name(self) -> str:
        """What plans call it."""
        return "snapstore"

    @property
    def schema(self) -> Schema:
        """The columns of the scan."""
        return self._schema

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:  # noqa: ARG002 - Daft applies them
        """One per task of the scan."""
        for task in self._tasks:
            yield _Task(task, self._schema, self._storage_options)


class _Task(DataSourceTask):
    def __init__(self, task: ScanTask, schema: Schema, storage_options: Mapping[str, Any] | None) -> None:
        self._task, self._schema, self._storage_options = task, schema, storage_options

    @property
    def schema(self) -> Schema:
        """The columns of the scan."""
        return self._schema

    async def read(self) -> AsyncIterator[RecordBatch]:
        """The batches of the task."""
        for batch in self._task.read(storage_options=self._storage_options):
            yield RecordBatch.from_arrow_record_batches([batch], batch.schema)
