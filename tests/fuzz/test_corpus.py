"""Every input of the corpus keeps the invariant of its target; no fuzzer is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import CANARY, TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES_MIN = 12
FILE_BYTES_MAX = 8192


def files(target: str) -> list[Path]:
    """The inputs of a target."""
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_keeps_the_invariant(target: str) -> None:
    for file in files(target):
        try:
            TARGETS[target].one(file.read_bytes())
        except Exception as error:
            error.add_note(f"with the input {file}")
            raise


@pytest.mark.parametrize("target", TARGETS)
def test_there_is_a_small_corpus(target: str) -> None:
    found = files(target)
    assert len(found) >= FILES_MIN
    assert max(file.stat().st_size for file in found) <= FILE_BYTES_MAX


def test_every_folder_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_the_canary_fails_for_what_it_waits_for() -> None:
    CANARY.one(b"nu")
    with pytest.raises(AssertionError, match="canary"):
        CANARY.one(b"nun-db")
