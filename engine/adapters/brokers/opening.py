"""Opens the brokers that the settings name. Their libraries are extras and are imported only then."""

from __future__ import annotations

import os
import socket

from engine.core.errors import InvalidRequestError
from engine.ports.brokers import Broker


def open_brokers(
    *, redis_url: str, sqs_region: str, sqs_endpoint: str, kafka_servers: str, group: str
) -> dict[str, Broker]:
    """The brokers by the types of their events; an empty value means none of that type.

    Raises:
        InvalidRequestError: a library is not installed, or a value makes no sense.
    """
    brokers: dict[str, Broker] = {}
    consumer = f"{socket.gethostname()}:{os.getpid()}"
    try:
        if redis_url:
            from engine.adapters.brokers.redis_streams import RedisStreams

            brokers["redis"] = RedisStreams(redis_url, group=group, consumer=consumer)
        if sqs_region:
            from engine.adapters.brokers.sqs import Sqs

            brokers["sqs"] = Sqs(sqs_region, endpoint=sqs_endpoint)
        if kafka_servers:
            from engine.adapters.brokers.kafka import Kafka

            brokers["kafka"] = Kafka(kafka_servers, group=group)
    except ImportError as error:
        raise InvalidRequestError(
            f"a broker of events needs a library that is not installed ({error.name}); "
            "install the extra of its name: showrunner[redis], [sqs] or [kafka]"
        ) from error
    except ValueError as error:
        # Its text may repeat the URL, and that may hold a password.
        raise InvalidRequestError(
            "events: the address of a broker cannot be read; write redis://HOST:PORT/DB"
        ) from error
    return brokers
