"""One of several server processes: `python -m api.server_process`, with its order on standard input."""

from __future__ import annotations

import sys

import msgspec

from api.failures import CommandError
from api.server import run_one_of_many
from api.settings import load
from api.supervisor import Order


def main() -> int:
    """Serve until a signal ends it; says its URL on standard output once it answers."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    settings = load({**order.flags, "port": order.port})

    def ready(url: str) -> None:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()

    try:
        return run_one_of_many(settings, ready, recover=order.recover)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
