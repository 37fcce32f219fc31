"""Numbered text files that show a program after each step."""

from pathlib import Path
from typing import Any

from sparsecomp.errors import SparsecompError
from sparsecomp.printer import to_text
from sparsecomp.program import PassRecord, Program


class Dump:
    """Writes ``00-captured.txt``, one file for each pass that changed something, and the stages of lowering.

    Args:
        directory: where to; made if missing. None writes nothing.

    Raises:
        SparsecompError: the directory cannot be made or written.
    """

    def __init__(self, directory: str | Path | None) -> None:
        self._directory = None if directory is None else Path(directory)
        self._count = 0
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                for old in self._directory.glob("[0-9][0-9]-*.txt"):
                    old.unlink()
            except OSError as error:
                raise SparsecompError(f"dump: cannot write to {directory}: {error}; name another directory") from error

    def captured(self, program: Program) -> None:
        """The program as it was captured."""
        self._write("captured", to_text(program))

    def after_pass(self, record: PassRecord, program: Program) -> None:
        """The program after a pass, if that changed anything."""
        if record.changed and self._directory is not None:
            self._write(record.name, to_text(program))

    def lowered(self, stage: str, module: Any) -> None:
        """A TVM module at a stage of lowering."""
        if self._directory is not None:
            self._write(stage, module.script(show_meta=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        if self._directory is not None:
            (self._directory / f"{self._count:02d}-{name}.txt").write_text(text, encoding="utf-8")
            self._count += 1
