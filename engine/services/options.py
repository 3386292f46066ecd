"""What settings say about the meaning of requests; every member has the default of a plain engine."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from engine.core.idempotency import Strategy
from engine.ports.sealing import Sealer


class Options(Struct, kw_only=True, frozen=True):
    """Options of an engine.

    Attributes:
        key_strategy: what a start with an idempotency key and no strategy means; None: the key is only kept.
        fixed_secrets: secrets that the operator gave with the process, by name.
        keep_ended_ms: how long ended workflows are kept; None: until somebody deletes them.
        strict_definitions: a workflow definition with a warning is refused.
        listener_sink: where status listeners are told that name no sink of their own; empty: nowhere.
        keep_payloads_ms: how long payloads that clients put elsewhere are kept; None: for ever.
        sealer: what seals stored secrets; None: none can be stored.
    """

    key_strategy: Strategy | None = None
    fixed_secrets: Mapping[str, str] = {}
    sealer: Sealer | None = None
    listener_sink: str = ""
    keep_ended_ms: int | None = None
    keep_payloads_ms: int | None = None
    strict_definitions: bool = False
