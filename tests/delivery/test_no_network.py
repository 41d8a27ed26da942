"""Nothing that igc does at run time opens a socket or starts a program."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest
from fault_runs import compile_arguments
from forked import forked
from slowness import slow_but

import igc


def no_network() -> None:
    """Any use of a socket, and any new program, ends the process."""
    import os
    import subprocess
    import sys

    def watch(event: str, _: object) -> None:
        if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system")):
            os.write(2, f"forbidden: {event}\n".encode())
            os._exit(77)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a socket was made")

    socket.socket.__init__ = refuse  # type: ignore[method-assign]
    subprocess.Popen.__init__ = refuse  # type: ignore[method-assign]
    sys.addaudithook(watch)


COMMANDS = ("compile", "verify", "report", "inspect", "explain", "demo")


@pytest.mark.parametrize("command", slow_but(COMMANDS[:-1], COMMANDS))
def test_no_command_opens_a_socket(command: str, checkpoint: Path, tmp_path: Path) -> None:
    arguments: tuple[object, ...] = (command, checkpoint)
    if command == "compile":
        arguments = compile_arguments(checkpoint, tmp_path)
    elif command == "verify":
        igc.export_onnx(igc.compile(checkpoint), tmp_path / "m.onnx")
        arguments = ("verify", checkpoint, tmp_path / "m.onnx")
    elif command == "demo":
        arguments = ("demo", "--out", tmp_path / "demo")
    done = forked(*arguments, before=no_network)
    assert done.code == 0, done.output


def test_the_watch_works() -> None:
    def try_it() -> None:
        no_network()
        socket.getaddrinfo("localhost", 80)

    assert forked("--version", before=try_it).code == 77
