import socket
import struct
import sys
import time

import pytest

from audition.engines.endpoint import stamps

S = 10**9
NOW = 5_000 * S


def stamp(realtime_ns: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, 35, struct.pack("qq", *divmod(realtime_ns, S)))]


def test_a_stamp_is_used_by_its_age():
    assert stamps.arrival(stamp(1_700_000_000 * S), 1_700_000_000 * S + 7_000, NOW) == (NOW - 7_000, 7_000)


def test_a_slewed_or_wrong_wall_clock_does_no_harm():
    for offset in (-10 * S, 0, 900 * S):
        wall = 1_700_000_000 * S + offset
        assert stamps.arrival(stamp(wall - 3_000), wall, NOW) == (NOW - 3_000, 3_000)


@pytest.mark.parametrize("age_ns", [-1, -3600 * S, 61 * S])
def test_a_step_of_the_wall_clock_falls_back_to_the_plain_clock(age_ns: int):
    wall = 1_700_000_000 * S
    assert stamps.arrival(stamp(wall - age_ns), wall, NOW) == (NOW, None)


def test_no_stamp_or_another_message_falls_back_to_the_plain_clock():
    assert stamps.arrival([], 0, NOW) == (NOW, None)
    assert stamps.arrival([(socket.SOL_SOCKET, 35, b"short")], 0, NOW) == (NOW, None)
    assert stamps.arrival([(socket.SOL_SOCKET, 29, bytes(16))], 0, NOW) == (NOW, None)


def pair(monkeypatch: pytest.MonkeyPatch, platform: str) -> tuple[bytes, int, int | None]:
    """Send `late`, leave it in the kernel for 50 ms, then read it."""
    monkeypatch.setattr(sys, "platform", platform)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        receive = stamps.receiver(client)
        client.connect(server.getsockname())
        client.setblocking(False)
        with server.accept()[0] as peer:
            with pytest.raises(BlockingIOError):
                receive()
            sent_ns = time.perf_counter_ns()
            peer.sendall(b"late")
            time.sleep(0.05)
            received = receive()
            peer.close()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    assert receive()[0] == b""
                    break
                except BlockingIOError:
                    time.sleep(0.001)
            return received[0], received[1] - sent_ns, received[2]


@pytest.mark.skipif(sys.platform != "linux" or struct.calcsize("l") != 8, reason="the kernel gives no stamps")
def test_bytes_that_waited_are_dated_by_their_arrival(monkeypatch: pytest.MonkeyPatch):
    data, after_ns, waited_ns = pair(monkeypatch, "linux")
    assert data == b"late"
    assert 0 <= after_ns < 40_000_000
    assert waited_ns >= 40_000_000


def test_without_the_kernels_help_they_are_dated_by_the_read(monkeypatch: pytest.MonkeyPatch):
    data, after_ns, waited_ns = pair(monkeypatch, "darwin")
    assert data == b"late"
    assert after_ns >= 50_000_000
    assert waited_ns is None
