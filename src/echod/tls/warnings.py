"""Warnings about certificates and key files that load, and will still cause trouble."""

import math
import stat
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.x509 import Certificate

__all__ = ["EXPIRY_NOTICE", "key_file_warning", "validity_warning"]

EXPIRY_NOTICE = timedelta(days=14)
"""How long before its end a certificate is warned about: two weekly renewals that failed."""


def validity_warning(option: str, path: str, certificate: Certificate, now: datetime) -> str | None:
    """Return a warning if the certificate is not valid at `now`, or ends within `EXPIRY_NOTICE`; else None."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = f"{option}: {path}: the certificate of {certificate.subject.rfc4514_string() or 'an empty subject'}"
    if now < begin:
        return f"{name} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
    if now > end:
        return f"{name} expired on {end:%Y-%m-%d %H:%M} UTC"
    if end - now <= EXPIRY_NOTICE:
        days = math.floor((end - now) / timedelta(days=1))
        remaining = "in less than a day" if not days else f"in {days} day{'s' if days > 1 else ''}"
        return f"{name} expires {remaining}, on {end:%Y-%m-%d %H:%M} UTC"
    return None


def key_file_warning(option: str, path: str) -> str | None:
    """Return a warning if others than the owner and the group may read a key's file, or others than the owner write it.

    A group that may read the file, such as Debian's ssl-cert, is how a daemon without privileges reads a key. None also
    if the file is gone.
    """
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return None
    if mode & stat.S_IROTH:
        problem = "every user of this host can read the key"
    elif mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = "users other than its owner can replace the key"
    else:
        return None
    return f"{option}: {path} has mode {mode:04o}: {problem} (chmod 640 or 600)"
