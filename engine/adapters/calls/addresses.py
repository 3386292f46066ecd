"""Which addresses tasks may reach: never link-local ones (cloud metadata), others as the operator says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = frozenset(
    {
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
        ipaddress.ip_address("fd00:ec2::254"),  # AWS, by IPv6
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud, by IPv6
    }
)
"""Metadata services outside the link-local ranges."""


NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses as a translating gateway writes them."""


class AddressRefusedError(Exception):
    """The host has no address that tasks may reach."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read a list of networks separated by commas; empty means every address that is not always refused.

    Raises:
        ValueError: an entry is no network; the text names it.
    """
    found: list[Network] = []
    for part in filter(None, (item.strip() for item in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError as error:
            raise ValueError(
                f"{part!r} is no network; write networks like 10.0.0.0/8, separated by commas"
            ) from error
    return tuple(found)


def allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether tasks may reach an address; empty `networks` narrow nothing."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not allowed(inner, networks):
            return False
        if address.ipv4_mapped is not None:
            return True
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA:
        return False
    return not networks or any(address in network for network in networks)


async def reachable(host: str, port: int, networks: Sequence[Network]) -> list[str]:
    """The addresses of a host that tasks may reach, in the resolver's order.

    Raises:
        AddressRefusedError: there is none. OSError: the host cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    usable = [text for text in addresses if allowed(ipaddress.ip_address(text.split("%")[0]), networks)]
    if not usable:
        raise AddressRefusedError(
            f"{host} ({', '.join(addresses)}) may not be reached by tasks of this server: link-local and "
            "metadata addresses never, others as SHOWRUNNER_HTTP_TASK_NETWORKS lists them"
        )
    return usable
