"""One uniform number per (seed, position): all the randomness that sampling uses.

There is no generator and so no state. What a sequence draws depends on its seed and on where the new
token will stand, never on what else is in the batch, and a preempted sequence draws the same again.
Native kernels compute the same function, bit for bit.
"""

from __future__ import annotations

import secrets

_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) for the token that will stand at ``position`` in ``Sequence.token_ids``
    (so the first generated token of a 5-token prompt has position 5).

    splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014) of
    ``seed xor position * 0xD1342543DE82EF95``, all modulo 2**64; its top 53 bits over 2**53.
    """
    z = ((seed ^ (position * 0xD1342543DE82EF95)) + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    z ^= z >> 31
    return (z >> 11) * 2.0**-53


def fresh_seed() -> int:
    """A 64-bit seed for a request that names none."""
    return secrets.randbits(64)
