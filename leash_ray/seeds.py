"""Random streams named by what they are for, so that nothing depends on order, batching or restarts."""

import hashlib


def stream_seed(*parts: object) -> int:
    """A seed for the stream that ``parts`` name, such as ``(seed, policy, problem_id)``: 62 bits of BLAKE2b.

    62, not 64: sample i of a request uses ``seed + i``, which must still fit a signed 64-bit integer.
    """
    blob = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(blob.encode(), digest_size=8).digest(), "big") >> 2
