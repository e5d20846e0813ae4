"""A session with some of everything."""

from __future__ import annotations

from turnstore import SessionStore, Usage


async def fill(store: SessionStore, id: str = "s", events: int = 20) -> None:
    await store.sessions.create(id=id, title=f"title of {id}", metadata={"k": "v"})
    for number in range(5):
        await store.messages.append(
            id, "user", f"{number}", usage=Usage(prompt_tokens=number)
        )
    await store.tool_calls.create(id, "shell", {})
    for number in range(events):
        await store.events.append(id, "e", {"number": number})
