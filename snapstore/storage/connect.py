"""From a url to a storage: the one place that knows all backends. Each is imported when it is wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from snapstore.errors import InvalidInputError, MissingExtraError
from snapstore.storage import memory
from snapstore.storage.object_settings import SCHEMES, object_settings
from snapstore.storage.protocol import Storage
from snapstore.storage.retry import DEFAULT_TIMEOUT_S, Retry
from snapstore.storage.single_writer import SingleWriter
from snapstore.storage.wrapper import ReadOnlyStorage


def connect(
    url: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    read_only: bool = False,
    create: bool = False,
    durability: str = "fsync",
    single_writer: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Storage:
    """Open a storage. Local folders are looked at; object stores are not asked anything yet.

    Args:
        url: A path or `file://` url; `memory://NAME`, shared by that name in this process, `memory://` private;
            `s3://`, `gs://`, `az://`; any other url that fsspec knows; `fsspec+URL` to go through fsspec in any case.
        storage_options: Settings and credentials in the words of the backend (see `object_settings`, or the fsspec file
            system's own).
        filesystem: An fsspec file system to use; `url` is then a path in it.
        read_only: Refuse every write, and write nothing.
        create: Make a local folder that is missing. Buckets are never made.
        durability: For local folders: "fsync" survives power loss, "os" only the death of the process.
        single_writer: Emulate conditional writes for this process alone, on storages that have none. With two writing
            processes, writes get lost.
        timeout_s: Limit in seconds for one call with all its attempts.

    Raises:
        NotFoundError: code `archive_not_found`, for a local folder that is missing.
        InvalidInputError: codes `invalid_url`, `invalid_option`, `unknown_scheme`.
        MissingExtraError: An optional package is needed.
        StorageError: codes `not_a_folder`, `permission_denied`, `credentials_invalid`.
    """
    if timeout_s <= 0:
        raise InvalidInputError("timeout_s is a positive number of seconds", timeout_s=timeout_s)
    text = os.fspath(url)
    if text.strip() == "":
        raise InvalidInputError("a storage needs a path or a url", code="invalid_url")
    scheme = text.partition("://")[0] if "://" in text else ""
    storage: Storage
    if filesystem is None and scheme in {"", "file"}:
        _no_options(storage_options, "local")
        storage = _local(text, durability, read_only=read_only, create=create, timeout_s=timeout_s)
    elif filesystem is None and scheme == "memory":
        _no_options(storage_options, "memory")
        storage = memory.named(text.removeprefix("memory://").strip("/"))
        storage = ReadOnlyStorage(storage) if read_only else storage
    elif filesystem is None and scheme in SCHEMES:
        from snapstore.storage.objects import open_objects

        settings = object_settings(text, storage_options, os.environ, timeout_s=timeout_s)
        storage = open_objects(settings, read_only=read_only)
    else:
        storage = _fsspec(text, storage_options, filesystem, read_only, timeout_s)
    return Retry(SingleWriter(storage) if single_writer else storage, timeout_s=timeout_s)


def _local(url: str, durability: str, *, read_only: bool, create: bool, timeout_s: float) -> Storage:
    from snapstore.storage.local import LocalStorage, check_durability

    return LocalStorage(
        url.removeprefix("file://"),
        durability=check_durability(durability),
        read_only=read_only,
        create=create,
        timeout_s=timeout_s,
    )


def _fsspec(url: str, options: Mapping[str, Any] | None, filesystem: Any, read_only: bool, timeout_s: float) -> Storage:
    try:
        from snapstore.storage.fsspec_storage import open_fsspec
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise MissingExtraError(
            "this kind of storage needs fsspec",
            hint="pip install 'snapstore[fsspec]', or use a path, s3://, gs:// or az:// url",
            scheme=url.partition("://")[0],
        ) from None
    return open_fsspec(url, options=options, filesystem=filesystem, read_only=read_only, timeout_s=timeout_s)


def _no_options(options: Mapping[str, Any] | None, kind: str) -> None:
    if options:
        raise InvalidInputError(f"a {kind} storage takes no storage_options", code="invalid_option", options=sorted(options))
