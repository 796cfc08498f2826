"""What the tests of chains share: handles as other processes have them, and short words for what they do."""

from __future__ import annotations

from typing import Any

from snapstore.adapters.chain import Chains, Draft, Version
from snapstore.opening import open_on
from snapstore.storage.protocol import Storage
from tests.unit.archives import World

NAME = "test:thing"


def cold(world: World, **settings: Any) -> Chains:
    """Chains of another process."""
    return Chains(world.cold(), "test:graph", **settings)


def on_storage(storage: Storage) -> Chains:
    """Chains on a storage of the test."""
    return Chains(open_on(storage), "test:graph")


def put(chains: Chains, state: Any, name: str = NAME) -> Version:
    """Write a state, whatever is there."""
    version = chains.append(name, lambda _: Draft(state))
    assert version is not None
    return version


def plus_one(version: Version | None) -> Draft:
    """Count on, from 1."""
    return Draft({"n": version.state()["n"] + 1 if version is not None else 1})


def value(chains: Chains, name: str = NAME) -> Any:
    """The newest state, None when there is none."""
    version = chains.newest(name)
    return version.state() if version is not None else None


def live_ids(world: World, name: str = NAME) -> list[str]:
    """The snapshots that are there, newest first."""
    return [snapshot.id for snapshot in world.cold().log(name)]
