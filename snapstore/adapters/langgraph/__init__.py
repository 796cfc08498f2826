"""LangGraph's checkpointer over an archive: `SnapstoreSaver(archive)`, in place of `SqliteSaver` or `PostgresSaver`.

    from snapstore.adapters.langgraph import SnapstoreSaver

    graph = builder.compile(checkpointer=SnapstoreSaver.from_url("./runs"))

What it is for: a thread of n steps costs n steps and not n squared, since list items, channels and whole forks are stored
once; and threads can be listed, copied, pruned and read elsewhere without running the graph.

Promises: sync and async in one class, with every capability of the interface (`put put_writes get_tuple list delete_thread
delete_for_runs copy_thread prune get_delta_channel_history get_next_version`); one pack and one round trip per `put`; lists
and their filters read no state; copying a thread copies no value; pruning keeps DeltaChannels whole; pending writes are
never lost, in whatever order writes and checkpoints arrive. Types outside of LangGraph's allowlist are not imported when they
are read (`with_allowlist` adds yours), and nothing is ever unpickled.

Does not: keep two processes apart that run the same thread at the same time (no checkpointer does), or let search follow
values that another serializer than LangGraph's own has wrapped.

Files: `saver` (the interface), `twins` (its async half), `codec` (values), `record` and `places` (what registers say, what
things are called), `store` (order, placeholders), `pending` and `writes` (pending writes), `deltas` (DeltaChannels), `threads`.
"""

from __future__ import annotations

from snapstore.errors import MissingExtraError

try:
    import langgraph.checkpoint.base  # noqa: F401 - to say what is missing, before the saver needs it
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "the LangGraph adapter needs LangGraph's checkpoint package",
        code="missing_extra",
        hint="pip install 'snapstore[langgraph]'",
    ) from error

from snapstore.adapters.langgraph.saver import SnapstoreSaver

__all__ = ["SnapstoreSaver"]
