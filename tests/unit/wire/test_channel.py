"""The blocking side of a channel: frames, descriptors, and the moment the other side goes."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from stoker.wire import frames
from stoker.wire.channel import Channel
from stoker.wire.frames import FROM_RUNNER, TO_RUNNER, TO_ZYGOTE, Fork, Interrupt, Leave, Said

SAID = Said(1, "log", 1.0, b"x")
STOP = Interrupt(1, "cancel", "asked")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_frames_are_received_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = Channel(pair[0], FROM_RUNNER), Channel(pair[1], TO_RUNNER)
    for number in range(100):
        sender.send(Interrupt(number, "cancel", "asked"))
    assert [receiver.receive() for _ in range(100)] == [Interrupt(n, "cancel", "asked") for n in range(100)]


def test_a_frame_in_pieces_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    data = frames.encode([STOP])
    receiver = Channel(pair[1], TO_RUNNER)
    pair[0].sendall(data[:5])
    assert receiver.waiting() == []
    pair[0].sendall(data[5:])
    assert receiver.receive() == STOP


def test_waiting_takes_what_is_there_and_does_not_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    receiver = Channel(pair[1], TO_RUNNER)
    assert receiver.waiting() == []
    pair[0].sendall(frames.encode([STOP]) * 3)
    assert receiver.waiting() == [STOP] * 3
    assert receiver.waiting() == []
    assert not receiver.closed


def test_the_end_is_seen_after_the_last_frame(pair: tuple[socket.socket, socket.socket]) -> None:
    receiver = Channel(pair[1], TO_RUNNER)
    pair[0].sendall(frames.encode([STOP]) + b"\x10\x00")
    pair[0].close()
    assert receiver.receive() == STOP
    assert receiver.receive() is None
    assert receiver.receive() is None
    assert receiver.closed


def test_the_end_is_seen_without_waiting_too(pair: tuple[socket.socket, socket.socket]) -> None:
    receiver = Channel(pair[1], TO_RUNNER)
    pair[0].sendall(frames.encode([STOP]))
    pair[0].close()
    assert receiver.waiting() == [STOP]
    assert receiver.closed


def test_a_reset_is_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """What the other side had not read when it closed makes a reset of the end."""
    receiver = Channel(pair[1], TO_RUNNER)
    receiver.send(SAID)
    pair[0].close()
    assert receiver.receive() is None


def test_sending_to_nobody_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()
    with pytest.raises(OSError, match=r"[Pp]ipe|reset"):
        Channel(pair[0], FROM_RUNNER).send(SAID)


def test_many_threads_may_send(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = Channel(pair[0], TO_RUNNER), Channel(pair[1], FROM_RUNNER)

    def send(number: int) -> None:
        for _ in range(50):
            sender.send(Said(number, "log", 1.0, b"x" * 2000))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found = [receiver.receive() for _ in range(200)]
    for thread in threads:
        thread.join()
    assert sorted(frame.run for frame in found if frame is not None) == sorted(list(range(4)) * 50)


def send_with(sock: socket.socket, data: bytes, *fds: int) -> None:
    socket.send_fds(sock, [data], list(fds))


def test_descriptors_come_with_their_frames_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    receiver = Channel(pair[1], TO_ZYGOTE, descriptors=True)
    ends = [os.pipe() for _ in range(3)]
    send_with(pair[0], frames.encode([Fork(1, "fork", 1)]), ends[0][1], ends[1][1])
    send_with(pair[0], frames.encode([Fork(2, "fork", 1)]), ends[2][1])
    assert receiver.receive() == Fork(1, "fork", 1)
    first = receiver.take_fds(2)
    assert receiver.receive() == Fork(2, "fork", 1)
    got = [*first, *receiver.take_fds(1)]
    for number, fd in enumerate(got):
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC, "no other program may inherit it"
        os.write(fd, b"%d" % number)
        assert os.read(ends[number][0], 10) == b"%d" % number
    for fd in (*got, *(fd for end in ends for fd in end)):
        os.close(fd)


def test_descriptors_that_nobody_took_are_closed_with_the_channel(pair: tuple[socket.socket, socket.socket]) -> None:
    receiver = Channel(pair[1], TO_ZYGOTE, descriptors=True)
    read, write = os.pipe()
    send_with(pair[0], frames.encode([Leave()]), write)
    os.close(write)
    assert receiver.receive() == Leave()
    receiver.close()
    assert os.read(read, 1) == b"", "nobody holds the other end any more"
    os.close(read)


def test_nonsense_from_the_other_side_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(b"\xff\xff\xff\xffhello")
    with pytest.raises(ValueError, match="4294967295 bytes"):
        Channel(pair[1], TO_RUNNER).receive()
