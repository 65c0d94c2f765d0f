"""What W&B's own files of an offline run hold."""

import struct
import time
from pathlib import Path
from typing import Any


def complete_records(path: Path) -> list[Any]:
    """:func:`records` once the run's last one is there: W&B's own process writes on for a moment after ``finish``."""
    deadline = time.monotonic() + 20
    while True:
        found = records(path)
        if any(record.HasField("exit") for record in found):
            return found
        assert time.monotonic() < deadline, f"{path} was not finished"
        time.sleep(0.05)


def records(path: Path) -> list[Any]:
    """What a ``.wandb`` file holds: a LevelDB log (blocks of 32 KiB, CRC, length and type before each part)."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    found, part, at = [], b"", 7  # after the file's own header
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last part
            found.append(wandb_internal_pb2.Record.FromString(part))
            part = b""
    return found
