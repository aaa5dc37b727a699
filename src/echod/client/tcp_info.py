"""TCP_INFO of Linux: `struct tcp_info` of linux/tcp.h, to which fields are only added at the end."""

import struct

from echod.client.outcomes import KernelFacts

__all__ = ["TCP_INFO_SIZE", "read_tcp_info"]

_WORD = struct.Struct("=I")

_SND_MSS = 16
_PMTU = 60
_RTT = 68
_RTTVAR = 72
_TOTAL_RETRANS = 100
_MIN_RTT = 148
"""Since Linux 4.6."""

_NEEDED = _TOTAL_RETRANS + _WORD.size
_UNKNOWN = 0xFFFFFFFF
"""The value of tcpi_min_rtt before the first sample."""

TCP_INFO_SIZE = _MIN_RTT + _WORD.size
"""Bytes to ask for: getsockopt(2) truncates a longer struct, and returns the size of a shorter one."""


def read_tcp_info(info: bytes) -> KernelFacts | None:
    """Return the facts in `info`; None if it is too short to hold more than the first fields."""
    if len(info) < _NEEDED:
        return None
    min_rtt = _word(info, _MIN_RTT) if len(info) >= TCP_INFO_SIZE else _UNKNOWN
    return KernelFacts(
        rtt=_word(info, _RTT),
        rtt_variation=_word(info, _RTTVAR),
        min_rtt=None if min_rtt == _UNKNOWN else min_rtt,
        retransmits=_word(info, _TOTAL_RETRANS),
        mss=_word(info, _SND_MSS),
        path_mtu=_word(info, _PMTU),
    )


def _word(info: bytes, offset: int) -> int:
    value: int
    (value,) = _WORD.unpack_from(info, offset)
    return value
