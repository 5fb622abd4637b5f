from __future__ import annotations

import json

import pytest

from jdetrt.cli import main
from jdetrt.machine import doctor as checkup
from jdetrt.machine.doctor import Fact


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *args])
    return int(stop.value.code or 0)


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["works"] is True
    names = [fact["name"] for fact in report["facts"]]
    for name in ("Python", "CPU", "Memory", "GPU", "TensorRT", "CUDA", "ONNX Runtime", "OpenCV"):
        assert name in names
    assert {"name", "status", "value", "hint"} == set(report["facts"][0])


@pytest.mark.parametrize(("status", "mark", "code"), [("missing", "--", 0), ("broken", "!!", 1)])
def test_marks_hints_and_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: checkup.Status,
    mark: str,
    code: int,
) -> None:
    made = [Fact("Python", "ok", "3.11"), Fact("OpenCV", status, "[no]", "install it")]
    monkeypatch.setattr(checkup, "diagnose", lambda: made)
    assert run() == code
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ok", "Python", "3.11"] in lines
    assert [mark, "OpenCV", "[no]"] in lines
    assert ["->", "install", "it"] in lines
    assert any("every" in line for line in lines) is (code == 1)
