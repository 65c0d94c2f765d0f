"""Signals that end a command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends this as Ctrl-C does, so that what runs on the cluster is taken down and the way to go on is said.
    Ray takes that signal for itself when it starts, and aborts at it."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:  # not one that C code has set
            signal.signal(signal.SIGTERM, before)
