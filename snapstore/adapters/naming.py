"""What every adapter shares: where its snapshots live, what they are called, and how async callers wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError
from snapstore.opening import open_on

__all__ = ["home", "joined", "parts_of", "threaded"]

P = ParamSpec("P")
T = TypeVar("T")


def home(archive: Archive, namespace: str | None) -> Archive:
    """The archive itself, or the isolated one below it, made when there is none yet.

    Args:
        archive: an open archive.
        namespace: any text; None for the archive itself.
    """
    if namespace is None:
        return archive
    return open_on(archive.storage, create=not archive.read_only, namespace=namespace)


def joined(system: str, *parts: str) -> str:
    """One name for one or more ids: `joined("cjm", "signup", "s/1")` is `cjm:signup/s%2F1`. No two tuples share a name.

    Raises:
        InvalidInputError: an id is no text, or holds half a surrogate pair.
    """
    try:
        for part in parts:
            part.encode()
        return f"{system}:" + "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidInputError("an id must be text that UTF-8 can hold", code="invalid_name", hint=str(error)) from error


def parts_of(name: str, system: str) -> tuple[str, ...] | None:
    """The ids that `joined` was given; None when the name is another system's."""
    own, colon, rest = name.partition(":")
    if own != system or not colon:
        return None
    return tuple(part.replace("%2F", "/").replace("%25", "%") for part in rest.split("/"))


async def threaded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous operation in a thread; cancelling the wait lets the operation finish, so nothing is half-written."""
    return await asyncio.to_thread(function, *args, **kwargs)
