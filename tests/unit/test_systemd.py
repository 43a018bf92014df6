"""What is said to the service manager, byte by byte."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.systemd import ServiceManager


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(tmp_path / "notify"))
    ear.settimeout(5)
    yield ear
    ear.close()


def test_every_message_is_one_datagram_of_lines(ear: socket.socket):
    manager = ServiceManager(address=ear.getsockname())
    manager.ready("taking calls\nreally")
    manager.alive("fine")
    manager.patience(30, "draining")
    manager.stopping("bye")
    manager.status("hm")
    said = [ear.recv(4096).decode() for _ in range(5)]
    assert said == [
        "READY=1\nSTATUS=taking calls really",
        "WATCHDOG=1\nSTATUS=fine",
        "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=draining",
        "STOPPING=1\nSTATUS=bye",
        "STATUS=hm",
    ]
    manager.reloading()
    reloading, monotonic = ear.recv(4096).decode().split("\n")
    assert reloading == "RELOADING=1"
    assert monotonic.removeprefix("MONOTONIC_USEC=").isdecimal()
    manager.close()


def test_an_abstract_socket_is_reached(tmp_path: Path):
    name = f"orchestrator-test-{os.getpid()}"
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(f"\0{name}")
    ServiceManager(address=f"@{name}").status("hello")
    assert ear.recv(100) == b"STATUS=hello"
    ear.close()


def test_nothing_is_said_where_nobody_listens_and_nobody_is_stopped_by_it(tmp_path: Path):
    ServiceManager().ready("x")
    gone = ServiceManager(address=str(tmp_path / "gone"))
    gone.ready("x")
    gone.alive("x")


def test_a_listener_that_does_not_read_stops_nobody(ear: socket.socket):
    manager = ServiceManager(address=ear.getsockname())
    for _ in range(2000):
        manager.alive("x" * 100)


def test_the_environment_names_it_and_child_processes_do_not_see_it():
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    manager = ServiceManager.of(environ)
    assert manager.watchdog_s == 30.0
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "/run/x"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "30000000"},
    ],
)
def test_nobody_watches_unless_it_is_said_so_to_this_process(environ: dict[str, str]):
    assert ServiceManager.of(environ).watchdog_s is None
