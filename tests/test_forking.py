"""What a forked engine keeps of its parent."""

import os
import signal
import socket
import time

from leash_ray.forking import close_sockets, die_with_parent


def test_sockets_are_closed_and_pipes_are_kept() -> None:
    """In a child, as it is used: the parent's sockets close for others only when no process holds them any more."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            close_sockets()
            try:
                os.fstat(theirs.fileno())
                os.write(write, b"the socket is open")
            except OSError:
                os.write(write, b"the socket is closed")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"the socket is closed"
    theirs.close()
    assert ours.recv(1) == b""  # end of file: nobody else holds the other end
    for fd in (read, write):
        os.close(fd)
    ours.close()


def test_a_fork_dies_with_its_parent() -> None:
    """The parent is killed: nobody tells the child, which would wait for ever."""
    read, write = os.pipe()
    if (parent := os.fork()) == 0:
        if os.fork() == 0:
            die_with_parent()
            os.write(write, b"ready")
        time.sleep(600)
        os._exit(0)
    os.close(write)
    assert os.read(read, 5) == b"ready"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(read, 1) == b""  # the child's end of the pipe is closed: it is dead
    os.close(read)
