"""Kill -9 at the renames of commands that write, over an older good result."""

from pathlib import Path

import pytest
from killed import QUICK, SLOW, Case, kill_everywhere, prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.mark.parametrize(
    "case",
    [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)],
    ids=lambda case: case.name,
)
def test_the_old_or_the_new_one_opens_and_nothing_is_left(case: Case, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        prepare(folder, patch)
        outcome = kill_everywhere(case, folder)
    assert outcome.kills >= 1
    assert outcome.failed == []
    assert outcome.opened == outcome.kills * len(case.outputs)
    assert outcome.after_next_run == []
    assert outcome.code == 0


def test_the_harness_sees_what_does_not_open(folder: Path) -> None:
    def refuse(path: Path) -> None:
        (listing,) = path.glob("*.train")
        if len(listing.read_text().splitlines()) != 3:  # the new one has three images, the old two
            raise ValueError("the old one")

    case = QUICK[2]
    with pytest.MonkeyPatch.context() as patch:
        prepare(folder, patch)
        outcome = kill_everywhere(Case(case.name, case.old, case.new, {"out": refuse}), folder)
    assert 0 < len(outcome.failed) < outcome.kills
