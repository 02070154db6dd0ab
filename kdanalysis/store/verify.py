"""The integrity of a run folder."""

from pathlib import Path
from typing import NamedTuple

from kdanalysis.store.info import read_info
from kdanalysis.store.inventory import list_starts
from kdanalysis.store.record import RECORD
from kdanalysis.store.schema import KINDS


class Finding(NamedTuple):
    """Something that is not as it was written."""

    part: str  # path inside the run folder
    problem: str


def verify(path: str | Path) -> list[Finding]:
    """Read every byte of a run and name truncated, altered, replaced and missing parts.

    An empty list says that everything acknowledged by a writer is there, bit for bit.

    Raises:
        FileNotFoundError: where the folder is no run folder.
        ValueError: where run.json is damaged or from a newer version.
    """
    root = Path(path)
    read_info(root)
    findings = []
    for kind in KINDS:
        for start in list_starts(root, kind):
            if start.record_problem is not None:
                record = (start.folder / RECORD).relative_to(root).as_posix()
                findings.append(Finding(record, start.record_problem))
            found = ((part.name, part.problem) for part in start.parts)
            findings += [Finding(name, problem) for name, problem in found if problem is not None]
    return sorted(findings)
