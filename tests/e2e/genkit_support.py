"""An agent of Genkit Python over an archive in a folder; its model answers locally, waits or fails as it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from genkit import ActionRunContext, FinishReason, GenkitError, Message, ModelRequest, ModelResponse, Part
from genkit.exp import Genkit
from genkit.exp.agent import Agent

import snapstore
from snapstore.adapters.genkit import SessionStore


class World:
    """An agent over an archive in a folder.

    Attributes:
        url: the folder.
        store: the store of the agent.
        agent: answers `echo: <what it was told last> (<messages so far>)`; fails when told to fail, and waits for `go` when
            told to wait.
        go: lets a waiting turn go on.
        aborted: set when a waiting turn was told to stop.
    """

    def __init__(self, folder: Path, *, create: bool = True, **options: Any) -> None:
        self.url = str(folder / "archive")
        archive = snapstore.open(self.url, create=create, durability="os")
        self.store = SessionStore(archive, **options)
        self.go = asyncio.Event()
        self.aborted = asyncio.Event()
        ai = Genkit()

        async def answer(request: ModelRequest[Any], ctx: ActionRunContext) -> ModelResponse[Any]:
            text = request.messages[-1].text
            if text == "fail":
                raise GenkitError(status="UNAVAILABLE", message="the model is out of order")
            while text == "wait" and not self.go.is_set():
                if ctx.abort_signal.is_set():
                    self.aborted.set()
                    break
                await asyncio.sleep(0.01)
            reply = f"echo: {text} ({len(request.messages)})"
            return ModelResponse(message=Message(role="model", content=[Part.from_text(reply)]), finish_reason=FinishReason.STOP)

        ai.define_model(name="local", fn=answer)
        self.agent: Agent[Any] = ai.define_agent(name="support", model="local", store=self.store)

    async def said(self, snapshot_id: str | None) -> list[str]:
        """The texts of a stored conversation."""
        assert snapshot_id is not None
        found = await self.agent.get_snapshot(snapshot_id=snapshot_id)
        assert found is not None
        assert found.state is not None
        return [message.text for message in found.state.messages or []]
