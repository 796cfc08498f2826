"""Open an archive: connect to the storage, read or create its config, and make sure the storage is safe to use."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from snapstore import clock
from snapstore.archive import Archive
from snapstore.config import DEFAULT_TIMEOUT_S
from snapstore.errors import ConflictError, CorruptionError, NotFoundError, ReadOnlyError, StorageError
from snapstore.format import names
from snapstore.format.config_document import ArchiveConfig
from snapstore.index.auto import DEFAULT_CHANGES
from snapstore.storage.connect import connect
from snapstore.storage.parallel import parallel
from snapstore.storage.prefixed import Prefixed
from snapstore.storage.probe import ProbeResult, endpoint, probe
from snapstore.storage.protocol import Storage

__all__ = ["open_archive", "open_on"]


def open_archive(
    url: str | os.PathLike[str],
    *,
    create: bool = False,
    namespace: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    durability: str = "fsync",
    read_only: bool = False,
    single_writer: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    index_after: int | None = DEFAULT_CHANGES,
) -> Archive:
    """Open an archive.

    Args:
        url: a path, `file://`, `memory://NAME`, `s3://`, `gs://`, `az://`, or any URL that fsspec knows.
        create: make the archive if there is none.
        namespace: open an isolated archive below this one: own ids, own deduplication, own index. It is made at the
            first open with `create`.
        storage_options: settings and credentials of the backend, such as `endpoint_url`, `region`, `profile`; the
            SDKs' own environment variables count as well.
        filesystem: an fsspec file system; `url` is then a path in it.
        durability: "fsync" (survives power loss) or "os" (survives the process), for local folders.
        read_only: refuse every write.
        single_writer: open a storage that failed the probe, with conditional writes emulated by this process. Only
            one process may then write; two would lose saves.
        timeout_s: how long one storage operation may take in all, in seconds.
        index_after: how many changes that are not in the index yet, whoever made them, let this process write them there, in
            a thread beside its saves; None for never. It takes the extra `index`; without it, or before, lists read the
            changes themselves.

    Raises:
        NotFoundError: there is no archive (`archive_not_found`); the hint says how to make one.
        StorageError: `unsafe_storage`: it cannot keep several writers apart; and any failure to reach it.
        FormatError: the archive was written by a newer version.
    """
    storage = connect(
        url,
        storage_options=storage_options,
        filesystem=filesystem,
        read_only=read_only,
        create=create,
        durability=durability,
        single_writer=single_writer,
        timeout_s=timeout_s,
    )
    return open_on(storage, create=create, namespace=namespace, single_writer=single_writer, index_after=index_after)


def open_on(
    storage: Storage,
    *,
    create: bool = False,
    namespace: str | None = None,
    single_writer: bool = False,
    index_after: int | None = None,
) -> Archive:
    """Open an archive on a storage that is connected already; arguments and errors as in `open_archive`."""
    home = storage if namespace is None else Prefixed(storage, names.namespace_prefix(namespace))
    probe_key = names.probe_key(endpoint(storage))
    config_bytes, result_bytes = parallel([lambda: _read(home, names.CONFIG_KEY), lambda: _read(storage, probe_key)])
    if config_bytes is None and not create:
        raise NotFoundError(
            "there is no archive here" if namespace is None else "there is no such namespace in this archive",
            code="archive_not_found",
            hint="create it with snapstore.open(url, create=True) or `snapstore init URL`",
            url=home.url,
        )
    config = ArchiveConfig.decode(config_bytes) if config_bytes is not None else None
    if config is not None:
        config.check_readable()
    read_only = storage.read_only
    if not read_only:
        read_only = _make_safe(storage, probe_key, result_bytes, single_writer=single_writer, must_write=config is None)
    if config is None:
        config = _created(home)
    if not read_only:
        config.check_writable()
    return Archive(home, config, read_only=read_only, index_after=None if read_only else index_after)


def _make_safe(storage: Storage, key: str, recorded: bytes | None, *, single_writer: bool, must_write: bool) -> bool:
    """Probe a storage that has not been probed from this endpoint, and set it up.

    Returns:
        Whether the storage turned out to be for reading only.
    """
    result = _recorded(recorded)
    if result is None:
        try:
            result = probe(storage)
        except (ReadOnlyError, StorageError) as error:
            # Who may not write can still read.
            if must_write or (isinstance(error, StorageError) and error.code != "permission_denied"):
                raise
            return True
        if single_writer or result.multi_writer:
            _record(storage, key, result)
    if not single_writer:
        result.require_multi_writer(storage.url)
    result.apply(storage)
    return False


def _recorded(data: bytes | None) -> ProbeResult | None:
    if data is None:
        return None
    try:
        result = ProbeResult.from_json(json.loads(data)["result"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    # A failure is worth finding out again: the server may have been mended.
    return result if result.multi_writer else None


def _record(storage: Storage, key: str, result: ProbeResult) -> None:
    document = {"endpoint": endpoint(storage), "probed_at": clock.now_ms(), "result": result.to_json()}
    storage.put(key, json.dumps(document, sort_keys=True).encode())


def _created(home: Storage) -> ArchiveConfig:
    config = ArchiveConfig(clock.random_hex(), clock.now_ms())
    try:
        home.put_create(names.CONFIG_KEY, config.encode())
    except ConflictError:
        existing = _read(home, names.CONFIG_KEY)
        if existing is None:
            raise CorruptionError("the archive's config vanished while it was made", code="config_missing") from None
        config = ArchiveConfig.decode(existing)
        config.check_readable()
    return config


def _read(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.get(key).data
    except NotFoundError:
        return None
