"""State fields as a Ray dataset.

```python
from snapstore.adapters.ray import SnapstoreDatasource

ray.data.read_datasource(SnapstoreDatasource("s3://bucket/runs", ["cost", "messages[*].role"], graph="support"))
```

Workers need snapstore and the storage's credentials; `storage_options` are sent to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from snapstore.adapters.engines import Part, planned

__all__ = ["SnapstoreDatasource"]


class SnapstoreDatasource(Datasource):
    """A scan as a source of Ray.

    Args:
        url: of the archive.
        paths: see `snapstore.scan.paths`.
        **options: as in `snapstore.adapters.engines.planned`.
    """

    def __init__(self, url: str, paths: str | Sequence[str] | Mapping[str, str], **options: Any) -> None:
        super().__init__()
        self._plan = planned(url, paths, **options)

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known: it depends on what stands at the paths."""
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list[ReadTask]:  # noqa: ARG002 - parts are cut where packs are shared, not by number
        """One per part of the scan."""
        unknown = {"size_bytes": None, "input_files": None, "exec_stats": None}
        return [
            ReadTask(
                partial(_tables, part),
                BlockMetadata(num_rows=part.task.rows, **unknown),
                schema=self._plan.schema,
                per_task_row_limit=per_task_row_limit,
            )
            for part in self._plan.parts
        ]


def _tables(part: Part) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in part.read())
