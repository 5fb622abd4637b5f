"""CUDA graphs by ctypes, against a library in C that has the driver's functions and checks them.

Its prototypes are those of cuda.h: an argument of the wrong width or order arrives wrong here too.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from jdetrt.engine.cuda import driver_graphs
from jdetrt.engine.cuda.api import CudaError
from jdetrt.errors import SessionError

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(
    COMPILER is None, reason="no C compiler here (Debian: apt-get install gcc)"
)
STREAM = SimpleNamespace(handle=0x7F0011112222)  # a pointer beyond 32 bits, as the driver's are

SOURCE = r"""
#include <stddef.h>
#include <string.h>
typedef struct CUstream_st *CUstream;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;
typedef int CUresult;
static char calls[4096], refused[64];
#define STREAM ((CUstream)0x7F0011112222)
#define GRAPH ((CUgraph)0x7F0033334444)
#define EXECUTABLE ((CUgraphExec)0x7F0055556666)
static CUresult note(const char *name, int right) {
    strcat(strcat(calls, name), " ");
    if (strcmp(refused, name) == 0) return 901;
    return right ? 0 : 1;  /* CUDA_ERROR_INVALID_VALUE */
}
const char *test_calls(void) { return calls; }
void test_refuse(const char *name) { strcpy(refused, name); }
CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
    return note("begin", stream == STREAM && mode == 1);
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    CUresult status = note("end", stream == STREAM);
    *graph = status ? NULL : GRAPH;
    return status;
}
#ifdef OLD
CUresult cuGraphInstantiate_v2(
    CUgraphExec *out, CUgraph graph, CUgraphNode *node, char *log, size_t size) {
    CUresult status = note("instantiate_v2", graph == GRAPH && !node && !log && size == 0);
    *out = status ? NULL : EXECUTABLE;
    return status;
}
#else
CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph graph, unsigned long long flags) {
    CUresult status = note("instantiate", graph == GRAPH && flags == 0);
    *out = status ? NULL : EXECUTABLE;
    return status;
}
#endif
#ifndef ANCIENT
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) {
    return note("launch", graph == EXECUTABLE && stream == STREAM);
}
#endif
CUresult cuGraphExecDestroy(CUgraphExec graph) { return note("forget", graph == EXECUTABLE); }
CUresult cuGraphDestroy(CUgraph graph) { return note("destroy", graph == GRAPH); }
"""

Driver = Callable[..., ctypes.CDLL]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    def driver(*defines: str) -> ctypes.CDLL:
        assert COMPILER is not None
        path = tmp_path / "libcuda.so.1"
        options = ["-shared", "-fPIC", "-Wall", "-Werror", *(f"-D{name}" for name in defines)]
        command = [COMPILER, "-x", "c", *options, "-o", str(path), "-"]
        subprocess.run(command, input=SOURCE, text=True, check=True)
        monkeypatch.setattr(driver_graphs, "_LIBRARY", str(path))
        library = ctypes.CDLL(str(path))
        library.test_calls.restype = ctypes.c_char_p
        return library

    # A cache of the test's own: no other test gets this library.
    monkeypatch.setattr(
        driver_graphs, "_driver", functools.cache(driver_graphs._driver.__wrapped__)
    )
    return driver


def _calls(library: ctypes.CDLL) -> list[str]:
    text: bytes = library.test_calls()
    return text.decode().split()


@pytest.mark.parametrize(("defines", "made"), [((), "instantiate"), (("OLD",), "instantiate_v2")])
def test_capture_launch_and_end(defines: tuple[str, ...], made: str, driver: Driver) -> None:
    library = driver(*defines)
    enqueued: list[list[str]] = []
    assert driver_graphs.has_graphs()
    graph = driver_graphs.capture(STREAM, lambda: enqueued.append(_calls(library)))
    assert enqueued == [["begin"]]
    graph.launch(STREAM)
    graph.launch(STREAM)
    graph.free()
    assert _calls(library) == ["begin", "end", made, "destroy", "launch", "launch", "forget"]


def test_what_fails_in_a_capture_leaves_nothing_of_it(driver: Driver) -> None:
    library = driver()

    def refuse() -> None:
        raise SessionError("TensorRT cannot run the plan")

    with pytest.raises(SessionError, match="TensorRT cannot"):
        driver_graphs.capture(STREAM, refuse)
    assert _calls(library) == ["begin", "end", "destroy"]


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("begin", ["begin"]),
        ("end", ["begin", "end"]),
        ("instantiate", ["begin", "end", "instantiate", "destroy"]),
    ],
)
def test_a_refusal_is_an_error_with_its_number(name: str, calls: list[str], driver: Driver) -> None:
    library = driver()
    library.test_refuse(name.encode())
    with pytest.raises(CudaError, match=r"CUDA failed: .*\(error 901\)"):
        driver_graphs.capture(STREAM, lambda: None)
    assert _calls(library) == calls


def test_a_launch_that_is_refused(driver: Driver) -> None:
    library = driver()
    graph = driver_graphs.capture(STREAM, lambda: None)
    library.test_refuse(b"launch")
    with pytest.raises(CudaError, match=r"starting a graph \(error 901\)"):
        graph.launch(STREAM)


def test_a_driver_that_is_too_old_has_none(driver: Driver) -> None:
    driver("ANCIENT")
    assert not driver_graphs.has_graphs()


def test_without_a_driver_there_are_none(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_graphs, "_LIBRARY", "libcuda-that-is-not-there.so.1")
    assert not driver_graphs.has_graphs()
