"""State fields as a Spark table: `spark.read.format("snapstore")`, Spark 4 or later.

```python
from snapstore.adapters.spark import register

register(spark)
spark.read.format("snapstore").options(url="s3://bucket/runs", graph="support", paths='["cost", "messages[*].role"]').load()
```

Options, all texts: `url`; `paths`, `types` and `metadata` as JSON, or one path as it is; `graph`, `run`, `status`, `node`,
`namespace`, `on_error`; `since` and `until` in milliseconds since 1970; `limit`; `storage.NAME` for a storage option.
Say what you want by options: filters of the query are applied by Spark, after reading (Spark 4.1 keeps a filter that a Python
source took over even for later queries).
Executors need snapstore and the storage's credentials; set `PYSPARK_PYTHON` to the Python that has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from snapstore.adapters.engines import Part, from_texts, planned

__all__ = ["SnapstoreSource", "register"]


class SnapstoreSource(DataSource):
    """The source; see the module."""

    @classmethod
    def name(cls) -> str:
        """What `format` calls it."""
        return "snapstore"

    def schema(self) -> StructType:
        """The columns of the scan."""
        return from_arrow_schema(planned(**from_texts(self.options)).schema)

    def reader(self, schema: StructType) -> DataSourceReader:  # noqa: ARG002 - it is the one that `schema` gave
        """A reader of the parts."""
        return _Reader(from_texts(self.options))


class _Reader(DataSourceReader):
    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def partitions(self) -> list[InputPartition]:
        """One per part."""
        return [InputPartition(part) for part in planned(**self._arguments).parts]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The batches of one part, in an executor."""
        part: Part = partition.value
        schema = pa.schema([field.with_type(_as_spark_has_it(field.type)) for field in part.task.schema])
        for batch in part.read():
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()


def _as_spark_has_it(kind: pa.DataType) -> pa.DataType:
    """The same type with Spark's unit for times, and its name for what is in a list: it takes no others."""
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _as_spark_has_it(kind.value_type)))
    return pa.timestamp("us", tz=kind.tz) if pa.types.is_timestamp(kind) else kind


def register(spark: SparkSession) -> None:
    """Make the format known to a session."""
    spark.dataSource.register(SnapstoreSource)
