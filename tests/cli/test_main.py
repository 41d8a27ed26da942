"""Exit codes, and what an error looks like."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import igc_cli.verify
from igc.errors import BadCheckpoint, BadInput, CheckFailed, IgcError, LintError, Refused
from igc.version import __version__

CONTRACT = {
    "compile": (
        "CKPT --out --model --input --tasks --torch-out --source-out --report --no-verify --json"
    ),
    "verify": "CKPT MODEL.onnx --inputs --json --model --tasks",
    "report": "CKPT|MODEL.onnx --format --max-macs --max-params",
    "inspect": "CKPT --json",
    "explain": "CKPT LAYER --json",
    "demo": "--train --epochs --out --json",
}


@pytest.mark.parametrize("command", CONTRACT)
def test_help_names_every_flag_and_shows_examples(cli, command: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    done = cli(command, "--help")
    assert done.code == 0
    for word in CONTRACT[command].split():
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", done.out), word
    assert f"igc {command}" in done.out.split("Examples:")[1]
    # Every option is explained: no row of the table ends after the option's type.
    rows = re.findall(r"^│[ *]+(--[\w-]+.*?)│$", done.out, re.MULTILINE)
    assert rows
    for row in rows:
        assert len(row.split()) >= 4, row


def test_top_level_help_lists_every_command(cli) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = cli(*arguments)
        assert done.code == 0
        assert all(f" {command} " in done.out for command in CONTRACT)
        assert done.err == ""


def test_version(cli) -> None:
    assert cli("--version").out == f"igc {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "No such command 'nope'"),
        (["--nope"], "No such option"),
        (["compile"], "Missing argument 'CKPT'"),
        (["compile", "a.pt"], "Missing option '--out'"),
        (["compile", "a.pt", "--out", "m.onnx", "--input", "1x3,4"], "'--input': '1x3,4'"),
        (["compile", "a.pt", "--out", "m.onnx", "--tasks", "a,,b"], "'--tasks': 'a,,b'"),
        (["compile", "a.pt", "--out", "m.pb"], "has to end in .onnx"),
        (["compile", "a.pt", "--out", "m.onnx", "--report", "r.pdf"], "has to end in one of"),
        (["compile", "a.pt", "--out", "m.onnx", "--torch-out", "m.onnx"], "both name m.onnx"),
        (["compile", "a.pt", "--out", "m.onnx"], "there is no file a.pt"),
        (["compile", "a.pt", "--out", "nowhere/m.onnx"], "no folder nowhere; make it first"),
        (["verify", "a.pt"], "Missing argument 'MODEL.onnx'"),
        (["verify", "a.pt", "m.onnx"], "there is no file a.pt"),
        (["report", "a.pt", "--max-macs", "lots"], "'--max-macs': 'lots'"),
        (["report", "a.pt", "--max-params", "-4M"], "'--max-params': '-4M'"),
        (["report", "a.pt", "--format", "pdf"], "'pdf' is not one of"),
        (["report", "m.onnx"], "there is no file m.onnx"),
        (["inspect", "a.pt"], "there is no file a.pt"),
        (["inspect", "."], "is not a file"),
        (["explain", "a.pt", "layer", "more"], "unexpected extra argument"),
        (["demo", "--epochs", "3"], "--epochs goes with --train"),
        (["demo", "--train", "--epochs", "0"], "'--epochs'"),
        (["demo", "--out", "a/b"], "there is no folder a"),
        (["explain", "a.pt"], "there is no file a.pt"),
    ],
)
def test_bad_usage_and_bad_input(cli, tmp_path, monkeypatch, arguments, says) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments)
    assert done.code == 2
    assert says in done.err
    assert done.err.startswith("igc: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert os.listdir(tmp_path) == []


@pytest.fixture
def failing(monkeypatch):
    """Makes `igc verify a b` raise the given error."""

    def install(error: BaseException) -> None:
        def raise_it(_path: Path) -> None:
            raise error

        monkeypatch.setattr(igc_cli.verify, "require_file", raise_it)

    return install


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (IgcError("no"), 2, "igc: no\n"),
        (BadInput("no\n  and\tno"), 2, "igc: no and no\n"),
        (BadCheckpoint("torn"), 2, "igc: torn\n"),
        (Refused("gate in layer1 is random"), 2, "igc: gate in layer1 is random\n"),
        (CheckFailed("differs"), 1, "igc: differs\n"),
        (FileNotFoundError(2, "No such file or directory", "x.bin"), 2, "igc: x.bin: no such"),
        (OSError(28, "No space left on device", "m.onnx"), 2, "igc: m.onnx: no space left"),
        (MemoryError(), 2, "igc: not enough memory"),
        (LintError("malformed"), 3, "igc: internal error: LintError: malformed"),
        (ZeroDivisionError("by zero"), 3, "igc: internal error: ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), 130, "igc: interrupted\n"),
    ],
)
def test_errors_are_one_line(cli, failing, monkeypatch, error, code, says) -> None:
    monkeypatch.delenv("IGC_DEBUG", raising=False)
    failing(error)
    done = cli("verify", "a", "b")
    assert done.code == code
    assert done.err.startswith(says)
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_debug_shows_the_traceback(cli, failing, monkeypatch) -> None:
    failing(BadInput("no"))
    monkeypatch.setenv("IGC_DEBUG", "0")
    assert "Traceback" not in cli("verify", "a", "b").err
    monkeypatch.setenv("IGC_DEBUG", "1")
    done = cli("verify", "a", "b")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.endswith("igc: no\n")


def igc(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "igc_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_as_a_process(tmp_path: Path) -> None:
    done = igc("--version")
    assert (done.returncode, done.stdout) == (0, f"igc {__version__}\n")
    done = igc("compile", "a.pt", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "igc: Missing option '--out'; see igc compile --help\n"


def test_help_and_bad_usage_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from igc_cli.main import run\n"
        "run(['compile', '--help']); run(['report', 'x', '--max-macs', 'y'])\n"
        "print(sorted({'torch', 'numpy', 'onnx', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_it_without_leftovers(tmp_path: Path, sent: int, code: int) -> None:
    script = (
        "import sys, time, types\n"
        "import igc_cli.verify, igc_cli.main\n"
        "from igc.files import atomic_write\n"
        "def slow(path):\n"
        "    with atomic_write('m.onnx') as temporary:\n"
        "        temporary.write_text('half')\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(60)\n"
        "igc_cli.verify.require_file = slow\n"
        "sys.argv[1:] = ['verify', 'a', 'b']\n"
        "igc_cli.main.main()\n"
    )
    (tmp_path / "m.onnx").write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # off under nohup
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.05)
    process.send_signal(sent)
    assert process.wait(timeout=20) == code
    assert os.listdir(tmp_path) == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "old"
    process.stdout.close()
