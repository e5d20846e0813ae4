"""Files as koda left them, at each age of its schema, and what goes wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.files.koda_tables import (
    ADDED,
    FIRST,
    HINT,
    LATER,
    ONE,
    TWO,
    KodaFile,
)
from tests.support.files.odd_values import (
    ODD_IDS,
    ODD_TEXTS,
    ODD_TIMES,
    Sql,
    changed,
    compact,
)


def call(
    id: str, name: str = "Read", arguments: str = "{}", **rest: Any
) -> dict[str, Any]:
    return {"id": id, "function_name": name, "arguments": arguments, **rest}


def compact_json(value: Any) -> str:
    return compact(value)


def conversation(file: KodaFile, session: str = ONE) -> None:
    """A turn with parallel calls, answered out of order, and its answer."""
    file.message("user", "List the tests", session)
    calls = [
        call("c1", "List", '{"path":"tests"}'),
        call("c2", "Grep", '{"pattern":"def test"}', thought_signature="c2ln"),
    ]
    file.message(
        "assistant",
        None,
        session,
        tool_calls=compact_json(calls),
        prompt_tokens=100,
        completion_tokens=20,
    )
    file.message("tool", "12 matches", session, tool_call_id="c2")
    file.message("tool", "a.py\nb.py", session, tool_call_id="c1")
    file.message(
        "assistant", "Two files.", session, prompt_tokens=150, completion_tokens=5
    )


def first(path: Path) -> Path:
    """0.1.3, with its rows of role ``phase``."""
    file = KodaFile(path, FIRST)
    file.session()
    file.session(TWO, agent_name="reviewer")
    conversation(file)
    file.message("phase", "Planning")
    file.message("user", "Other session", TWO)
    file.message("assistant", "Interrupted", TWO, tool_calls=compact_json([call("c1")]))
    return file.close()


def added(path: Path) -> Path:
    """0.1.13, two projects and one session of none."""
    file = KodaFile(path, FIRST, ADDED)
    file.session(project_root="/repo", last_accessed_at="2025-03-05 08:00:00")
    file.session(TWO, project_root="/other")
    file.session("no-root", agent_name="")
    # The ids are of all sessions together.
    file.message("user", "Other session", TWO)
    conversation(file)
    file.message(
        "assistant",
        "From a helper",
        TWO,
        prompt_tokens=7,
        completion_tokens=0,
        cache_read_tokens=3,
        cache_creation_tokens=2,
        thinking_tokens=1,
        agent_name="explorer",
    )
    file.message("assistant", "No usage", cache_read_tokens=9)
    for key, value in [("todo", "- [ ] run"), ("color", "blue"), ("empty", "")]:
        file.insert(
            "session_metadata",
            session_id=ONE,
            key=key,
            value=value,
            updated_at=file.time(),
        )
    return file.close()


def later(path: Path) -> Path:
    """0.2.x, with each of its columns and tables in use."""
    file = KodaFile(path, FIRST, ADDED, LATER)
    file.session(project_root="/repo", title="Tests", mode="auto")
    conversation(file)
    file.message("tool", "[cleared]", tool_call_id="c9", full_content="long output")
    file.message(
        "assistant",
        "Done",
        thinking_content="Let me see.",
        completed_at=file.time(),
        prompt_tokens=1,
        completion_tokens=1,
    )
    file.message("assistant", "Cut off")
    file.insert(
        "owned_files", session_id=ONE, path="/repo/a.py", created_at=file.time()
    )
    file.insert("owned_files", session_id="gone", path="/b", created_at=file.time())
    file.insert("kv_store", key="setting:theme", value="dark", updated_at=file.time())
    file.insert("kv_store", key="apikey:openai", value="sk-1", updated_at=file.time())
    file.insert("input_history", input="List the tests", created_at=file.time())
    file.insert(
        "session_events",
        session_id=ONE,
        kind="tool_start",
        payload='{"name":"List","n":1.0}',
        created_at=file.time(),
    )
    file.insert(
        "session_events",
        session_id=ONE,
        kind="sub_agent",
        payload="not JSON",
        parent_tool_call_id="c1",
        created_at=file.time(),
    )
    file.insert(
        "tasks",
        status="done",
        prompt="Run",
        session_id=ONE,
        project_root="/repo",
        created_at=1741082400,
        completed_at=1741082460,
        exit_code=0,
    )
    file.insert("tasks", status="running", prompt="Wait", created_at=1741082500)
    return file.close()


def twice_compacted(path: Path) -> Path:
    """Messages 1 to 16, 6 and then all but 4 of them archived, in two sessions."""
    file = KodaFile(path, FIRST, ADDED)
    file.session()
    for number in range(1, 11):
        role = "user" if number % 2 else "assistant"
        file.message(role, f"m{number}", prompt_tokens=number, completion_tokens=1)
    file.compact("first summary", 4)
    for number in range(11, 17):
        file.message("user" if number % 2 else "assistant", f"m{number}")
    file.compact("second summary", 4)
    file.message("user", "m17")
    return file.close()


def purged(path: Path) -> Path:
    """Compacted twice, and what the first archived was deleted since."""
    file = KodaFile(path, FIRST, ADDED)
    file.session()
    for number in range(1, 9):
        file.message("user" if number % 2 else "assistant", f"m{number}")
    file.compact("first summary", 2)
    file.connection.execute("DELETE FROM messages WHERE compacted_at IS NOT NULL")
    file.message("user", "m9")
    file.message("assistant", "m10")
    file.compact("second summary", 2)
    return file.close()


def odd_compactions(path: Path) -> Path:
    """What no compaction of koda leaves behind, but a file can hold."""
    file = KodaFile(path, FIRST, ADDED)
    file.session()
    for number in range(1, 7):
        # A hole in the middle.
        at = "2025-03-04 11:00:00" if number in (1, 2, 4) else None
        file.message("user", f"m{number}", compacted_at=at)
    file.message("system", "summary", created_at="2025-03-04 11:00:00")
    file.message("assistant", HINT, created_at="2025-03-04 11:00:00")
    file.session(TWO)
    # No summary; and a time that is none.
    file.message("user", "a", TWO, compacted_at="2025-03-04 12:00:00")
    file.message("user", "b", TWO, compacted_at="yesterday")
    file.message("user", "c", TWO, compacted_at="")
    file.message("assistant", "d", TWO)
    return file.close()


ODD_CALLS: tuple[Any, ...] = (
    "",
    "null",
    "[]",
    "{}",
    "not JSON",
    '[1, "a"]',
    '[{"id":"a","name":"Read","arguments":"{}"}]',
    '[ {"id": "a", "function_name": "Read", "arguments": "{}"} ]',
    '[{"arguments":"{}","function_name":"Read","id":"a"}]',
    '[{"id":"a","id":"b","function_name":"Read","arguments":"{}"}]',
    '[{"id":"a","function_name":"Read","arguments":{"n":1.0e2,"big":123456789012345678901}}]',
    '[{"id":5,"function_name":"Read","arguments":"{}"}]',
    '[{"function_name":"Read","arguments":"not JSON"}]',
    '[{"id":"a","function_name":"\\ud800","arguments":"{}"}]',
    '[{"id":"a","function_name":"Re\\u0000ad","arguments":"{}"}]',
    '[{"id":"a","function_name":"Read","arguments":"{}","type":"x","function":{}}]',
    b"[]",
    Sql("CAST(x'5bff5d' AS TEXT)"),
)
ODD_TOKENS: tuple[Any, ...] = (0, -1, 2**62, "many", 1.5, b"1", "12")


def odd_rows(path: Path) -> Path:
    """Every value that a column can hold and should not."""
    file = KodaFile(path, FIRST, ADDED, LATER)
    file.connection.execute("PRAGMA foreign_keys = OFF")
    file.session()
    for given in ODD_IDS:
        file.session(given)
        file.message("user", "of it", "" if given is None else given)
    for value in ODD_TEXTS:
        file.message("user", value)
        file.message("tool", "answer", tool_call_id=value)
        file.message("user", "named", agent_name=value)
        file.session(
            f"session {value!r}"[:80].replace("\x00", ""),
            agent_name="" if value is None else value,
            project_root=value,
            title=value,
            mode=value,
        )
        key = "none" if value is None else value
        file.insert("session_metadata", session_id=ONE, key=key, value=key)
        file.insert("kv_store", key=value, value=key)
        file.insert("session_events", session_id=ONE, kind=key, payload=key)
    for value in ODD_CALLS:
        file.message("assistant", "calls", tool_calls=value)
        file.message("user", "no calls", tool_calls=value)
    for value in changed([call("a"), call("b", thought_signature="s")]):
        file.message("assistant", "calls", tool_calls=compact_json(value))
        file.message("tool", "answer", tool_call_id="a")
    for value in ODD_TOKENS:
        file.message("assistant", "p", prompt_tokens=value)
        file.message("assistant", "c", completion_tokens=value)
        file.message("assistant", "k", prompt_tokens=1, cache_read_tokens=value)
    for value in ODD_TIMES:
        file.message("user", "t", created_at=value)
        file.message("user", "done", completed_at=value)
        file.session(f"at {value!r}", created_at=value, last_accessed_at=value)
    for role in ("phase", "User", "", "unknown", b"user", Sql("CAST(x'ff' AS TEXT)")):
        file.message(role, "said")
    # Rows whose session is gone.
    file.message("user", "orphan", "gone")
    file.message("assistant", "orphan", "gone", tool_calls=compact_json([call("c1")]))
    file.insert("session_metadata", session_id="gone", key="todo", value="x")
    file.insert("session_metadata", session_id="also gone", key="k", value="v")
    file.insert("session_events", session_id="gone too", kind="k", payload="{}")
    # Ids are given by hand too.
    file.insert("messages", id=-5, session_id=ONE, role="user", content="before all")
    file.insert("messages", id=2**62, session_id=ONE, role="user", content="after all")
    return file.close()


def repeated_calls(path: Path) -> Path:
    """Call ids that a provider gave again, one answer missing, one without a call."""
    file = KodaFile(path, FIRST, ADDED)
    file.session()
    for answers in (1, 1, 0):
        file.message("user", "again")
        file.message("assistant", tool_calls=compact_json([call("call_0")]))
        for _ in range(answers):
            file.message("tool", f"answer {file.seconds}", tool_call_id="call_0")
    file.message("tool", "nobody asked", tool_call_id="call_9")
    file.message("tool", "and no id")
    file.message("assistant", "both", tool_calls=compact_json([call("x"), call("x")]))
    file.message("tool", "x first", tool_call_id="x")
    file.message("tool", None, tool_call_id="x")
    return file.close()


def extended(path: Path) -> Path:
    """Columns, tables, a view and a trigger that no release of koda has."""
    file = KodaFile(path, FIRST, ADDED)
    for statement in (
        "ALTER TABLE messages ADD COLUMN rating INTEGER",
        "ALTER TABLE sessions ADD COLUMN Mood TEXT DEFAULT 'fine'",
        'CREATE TABLE "my notes" (note, "of" REFERENCES messages(id))',
        "CREATE VIEW talk AS SELECT role, content FROM messages",
        "CREATE TABLE touched (id INTEGER)",
        (
            "CREATE TRIGGER touch AFTER INSERT ON messages BEGIN "
            "INSERT INTO touched VALUES (new.id); END"
        ),
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 77",
    ):
        file.connection.execute(statement)
    file.session()
    conversation(file)
    file.connection.execute("UPDATE messages SET rating = 5 WHERE id = 1")
    file.connection.execute("DELETE FROM messages WHERE id = 5")
    file.connection.execute("""INSERT INTO "my notes" VALUES ('x', 1), (NULL, x'00')""")
    return file.close()


def large(path: Path, sessions: int = 40, messages: int = 60) -> Path:
    """More than a batch, the sessions' rows mixed."""
    file = KodaFile(path, FIRST, ADDED)
    file.connection.execute("BEGIN")
    for number in range(sessions):
        file.session(f"s{number:03}", created_at="2025-03-04 10:00:00")
    for number in range(messages):
        for session in range(sessions):
            file.message(
                "user" if number % 2 else "assistant",
                f"{session} {number}",
                f"s{session:03}",
                created_at="2025-03-04 10:00:00",
            )
    file.connection.execute("COMMIT")
    return file.close()


def empty(path: Path) -> Path:
    return KodaFile(path, FIRST, ADDED).close()


BUILDERS: dict[str, Callable[[Path], Path]] = {
    each.__name__: each
    for each in (
        first,
        added,
        later,
        twice_compacted,
        purged,
        odd_compactions,
        odd_rows,
        repeated_calls,
        extended,
        large,
        empty,
    )
}
