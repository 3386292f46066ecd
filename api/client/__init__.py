"""A small typed client of the product API, for the command line and for tests."""

from api.client.client import (
    ClientError,
    ServerRefusedError,
    ServerUnreachableError,
    ShowrunnerClient,
    VideoEvent,
)

__all__ = ["ClientError", "ServerRefusedError", "ServerUnreachableError", "ShowrunnerClient", "VideoEvent"]
