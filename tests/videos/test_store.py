"""The product's own rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from api.videos.models import VideoStatus
from api.videos.store import (
    IDEMPOTENCY_MS,
    Idempotency,
    StoreUnavailableError,
    VideoFilter,
    VideoRow,
    VideoStore,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[VideoStore]:
    opened = VideoStore(tmp_path / "videos.db")
    await opened.open()
    yield opened
    await opened.close()


def row(video_id: str, created_ms: int = 1, **more: Any) -> VideoRow:
    given: dict[str, Any] = {
        "status": VideoStatus.QUEUED,
        "title": f"title {video_id}",
        "profile": "default",
        "source_key": "k",
        "source_sha256": "s",
        "source_size": 1,
        "updated_ms": created_ms,
        **more,
    }
    return VideoRow(id=video_id, created_ms=created_ms, **given)


def key(name: str, video_id: str, created_ms: int = 1) -> Idempotency:
    return Idempotency(key=name, fingerprint="f", video_id=video_id, answer=b"", created_ms=created_ms)


async def test_pages_lose_and_repeat_nothing(store: VideoStore) -> None:
    """Walking by cursor meets every video once, also those created in the same millisecond."""
    for number in range(7):
        await store.add(row(f"v{number}", created_ms=number // 3))

    seen: list[str] = []
    after: tuple[int, str] | None = None
    while page := await store.page(VideoFilter(limit=2, after=after)):
        seen += [each.id for each in page]
        after = (page[-1].created_ms, page[-1].id)

    assert seen == ["v6", "v5", "v4", "v3", "v2", "v1", "v0"]


async def test_a_pattern_in_the_search_text_is_text(store: VideoStore) -> None:
    """% and _ stand for themselves."""
    await store.add(row("a", title="100 % real"))
    await store.add(row("b", title="other"))

    assert [each.id for each in await store.page(VideoFilter(text="%"))] == ["a"]
    assert [each.id for each in await store.page(VideoFilter(text="REAL"))] == ["a"]


async def test_a_move_the_table_forbids_changes_nothing(store: VideoStore) -> None:
    """A ready video does not become processing, and nothing else of that write happens."""
    await store.add(row("v", status=VideoStatus.READY))

    answered = await store.change("v", status=VideoStatus.PROCESSING, title="new")

    assert answered is not None
    assert (answered.status, answered.title) == (VideoStatus.READY, "title v")


async def test_a_key_is_taken_with_its_video_or_not_at_all(store: VideoStore) -> None:
    """A second video under one key is not stored."""
    assert await store.add(row("a"), key("k", "a"))
    assert not await store.add(row("b"), key("k", "b"))

    assert await store.get("b") is None
    known = await store.idempotency("k", 1)
    assert known is not None
    assert known.video_id == "a"


async def test_keys_are_forgotten_after_a_day(store: VideoStore) -> None:
    """An old key may be used again."""
    await store.add(row("a"), key("k", "a", created_ms=1))
    later = 2 + IDEMPOTENCY_MS

    assert await store.idempotency("k", later) is None
    assert await store.add(row("b"), key("k", "b", created_ms=later))


async def test_deleted_rows_are_hidden_until_forgotten(store: VideoStore) -> None:
    """A deleted video is in no list, but its row is kept until its files are surely gone."""
    await store.add(row("v"))
    await store.change("v", deleted_ms=5)

    assert await store.get("v") is None
    assert await store.page(VideoFilter()) == []
    assert [each.id for each in await store.deleted()] == ["v"]
    await store.forget("v")
    assert await store.deleted() == []


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """A newer schema is not guessed at; the sentence names the file."""
    store = VideoStore(tmp_path / "videos.db")
    await store.open()
    await store.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'videos.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()

    again = VideoStore(tmp_path / "videos.db")
    with pytest.raises(StoreUnavailableError, match=r"videos\.db .*99"):
        await again.open()
    await again.close()


async def test_what_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    """A file that is something else is named."""
    (tmp_path / "videos.db").write_bytes(b"this is not a database, and long enough to tell" * 40)
    store = VideoStore(tmp_path / "videos.db")

    with pytest.raises(StoreUnavailableError, match="not a database"):
        await store.open()
    await store.close()
