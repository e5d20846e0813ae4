"""Reading all that a store holds, as its callers do."""

from __future__ import annotations

from turnstore import SessionStore


async def read_all(store: SessionStore) -> int:
    """Read every session by every method; return how many there are."""
    count = 0
    cursor = None
    while True:
        page = await store.sessions.list(limit=100, cursor=cursor)
        for session in page.items:
            state = await store.sessions.load(session.id)
            assert state is not None
            listed = await store.messages.list(session.id)
            assert state.messages == listed
            assert session.message_count == len(listed)
            events = await store.events.list(session.id)
            assert session.event_head == len(events)
            pending = await store.tool_calls.pending(session.id)
            assert session.pending_tool_calls == len(pending)
            seqs = {each.seq for each in listed}
            context = await store.messages.context(session.id)
            assert {each.seq for each in context} <= seqs
            assert len(await store.messages.branch(session.id)) <= len(listed)
            assert await store.usage.session(session.id) == session.usage
            count += 1
        cursor = page.next_cursor
        if cursor is None:
            return count
