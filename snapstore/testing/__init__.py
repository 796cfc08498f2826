"""The exported test suites: what a storage of your own must do to carry an archive, and an adapter to stand on one.

For: anybody who writes a backend or an adapter, or who wants to know whether a server at hand is good enough. The same suites
hold snapstore's own. They need pytest (`pip install 'snapstore[test]'`) and import the storage room and the errors only.

```python
import pytest
from snapstore.testing import StorageContract

class TestMyStorage(StorageContract):
    @pytest.fixture
    def storage(self):
        return MyStorage(...)      # empty, and its own for every test
```

An adapter is held by a driver, which says how values are written and read through its contract, and which capabilities the
contract has; see `AdapterDriver`.

```python
from snapstore.testing import AdapterContract, AdapterDriver

class MyDriver(AdapterDriver):
    words = ("my-system",)         # ids, runs and graphs begin with it

    def __init__(self, archive, namespace=None):
        self.store = MyAdapter(archive, namespace)

    def write(self, key, value):
        self.store.put(key, value)

    def read(self, key):
        return self.store.get(key)

class TestMyAdapter(AdapterContract):
    driver = MyDriver

    @pytest.fixture
    def archive(self):
        return snapstore.open(...)     # empty, and its own for every test
```

Promises: every test names one behaviour: of a storage one that snapstore relies on, of an adapter one that its users do. A
backend that passes all of them needs no further knowledge of snapstore. Does not: measure speed, or test faults such as power
loss, which no suite can cause from outside. Nothing in snapstore imports this package.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "snapstore.testing.adapter_contract",
    "snapstore.testing.adapter_races",
    "snapstore.testing.storage_contract",
    "snapstore.testing.storage_races",
)

# Rewriting must be asked for before the imports.
from snapstore.testing.adapter_contract import AdapterContract  # noqa: E402
from snapstore.testing.adapter_driver import AdapterDriver  # noqa: E402
from snapstore.testing.storage_contract import StorageContract  # noqa: E402

__all__ = ["AdapterContract", "AdapterDriver", "StorageContract"]
