"""Passwords in the names of sources: what is printed, logged or written has none.

A password may hold any character, also those that RFC 3986 wants to have percent-encoded (``#``,
``/``, ``"``, a blank). So nothing is parsed here: rather too much is hidden than too little.
"""

from __future__ import annotations

import re

__all__ = ["HASH_HINT", "without_passwords"]

HASH_HINT = "in a password or a path, write # as %23, / as %2F, @ as %40 and a blank as %20"

_HIDDEN = "***"
# Behind "://" up to the last "@" before the next address; the user's name in front of ":" stays.
_NEXT = r"[\s\"'=,(]\w+://"
_USER = re.compile(rf"(?<=://)((?:(?!{_NEXT})[^:@/])*:)?(?:(?!{_NEXT}).)*@", re.DOTALL)
_KEY = (
    r"[\w-]*(?:password|passwd|passphrase|pass|pwd|pw|token|secret|credentials?|auth|sig"
    r"|signature|key)"
)
# In a query a value ends at "&", in a GStreamer pipeline before the next property or element.
_VALUE = re.compile(
    rf"(?<![\w-])({_KEY})(\s*=\s*)(?:(?!&|\s+[\w-]+\s*=|\s!\s|{_NEXT}).)+",
    re.IGNORECASE | re.DOTALL,
)


def without_passwords(text: object) -> str:
    """Hide the passwords of a URL or a pipeline, and the values of keys such as ``token=``.

    >>> without_passwords("rtsp://admin:p#s/s w@rd@10.0.0.7/stream")
    'rtsp://admin:***@10.0.0.7/stream'
    >>> without_passwords("http://10.0.0.7/video?user=me&password=a b&size=2")
    'http://10.0.0.7/video?user=me&password=***&size=2'
    >>> without_passwords("gst:rtspsrc user-id=me user-pw=secret latency=200 ! decodebin")
    'gst:rtspsrc user-id=me user-pw=*** latency=200 ! decodebin'
    """
    hidden = _USER.sub(lambda match: f"{match[1] or ''}{_HIDDEN}@", str(text))
    return _VALUE.sub(rf"\1\2{_HIDDEN}", hidden)
