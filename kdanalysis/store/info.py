"""run.json: what a run is, apart from its rows.

Its last member, crc32, is the checksum of all bytes before it, so that no flipped bit and no cut
goes unseen.
"""

import json
import re
import zlib
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdanalysis.store.files import commit_file
from kdanalysis.store.schema import SCHEMA_VERSION

RUN_JSON = "run.json"
STAND_IN = f".{RUN_JSON}.rank-"
_LARGEST = 64 << 20
_SEAL = re.compile(rb',\n  "crc32": "([0-9a-f]{8})"\n}')


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class RunInfo:
    """Facts of a run. ``settings`` is free-form JSON without NaN or inf.

    ``scales`` are those of the region logits it holds, none where it holds none. ``kept`` is K
    where of every row the teacher's K largest classes are kept in place of all logits, with sums
    over the others at ``kept_temperatures``, overlap and L1 norms at ``kept_ks``; else 0.

    Raises:
        ValueError: where there are fewer than two classes, or class names of another number.
    """

    num_classes: int
    classes: list[str] | None = None
    loss: str = ""
    terms: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    temperature: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    world_size: int = 1
    seed: int | None = None
    created: str = field(default_factory=_now)
    schema_version: int = SCHEMA_VERSION
    scales: tuple[int, ...] = ()
    kept: int = 0
    kept_temperatures: tuple[float, ...] = ()
    kept_ks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"got {self.num_classes} class, need at least 2 to compare classes")
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"got {len(self.classes)} class names for {self.num_classes} classes")

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis that a cell of the run may have."""
        temperatures = len(self.kept_temperatures)
        return {
            "classes": self.num_classes,
            "regions": sum(scale**2 for scale in self.scales),
            "kept": self.kept + 1,
            "known": len(self.kept_ks),
            "temperatures": temperatures,
            "facts": 13,
            "products": temperatures * (2 * temperatures + 1),
            "distances": 2 * len(self.kept_ks),
            "shape": 3,
        }


def write_info(root: Path, info: RunInfo, rank: int = 0) -> None:
    """Write run.json durably; another rank than 0 writes what stands in where 0 wrote none.

    Raises:
        ValueError: where a value is no JSON, NaN and inf included.
    """
    try:
        text = json.dumps(asdict(info), allow_nan=False, indent=2)
    except (TypeError, ValueError) as error:
        raise ValueError(f"run.json takes plain JSON values without NaN or inf: {error}") from error
    commit_file(root / (RUN_JSON if rank == 0 else f"{STAND_IN}{rank}"), [sealed(text.encode())])


def read_info(root: Path) -> RunInfo:
    """Read run.json, or another rank's where rank 0 had no rows or died before its first.

    Raises:
        FileNotFoundError: where the folder is no run folder.
        ValueError: where run.json is damaged or from a newer version.
    """
    path = Path(root) / RUN_JSON
    if not path.is_file():
        path = min(Path(root).glob(f"{STAND_IN}*"), default=path)
    if not path.is_file():
        raise FileNotFoundError(f"{root} is not a run folder: it has no {RUN_JSON}")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes: not written by this package")
    try:
        text = path.read_bytes()
        values = json.loads(text, parse_constant=_refuse_constant)
        info = _from_json(values)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not the {RUN_JSON} of a run: {error}") from error
    if not _whole(text):
        raise ValueError(
            f"{path} is altered: it does not fit its checksum, so that nothing of the run is "
            f"believed; restore it from a copy, the parts are as `kdanalysis verify` says"
        )
    return info


def sealed(text: bytes) -> bytes:
    """Add the checksum to an object of JSON."""
    body = text.removesuffix(b"\n}")
    return b'%s,\n  "crc32": "%08x"\n}' % (body, zlib.crc32(body))


def _whole(text: bytes) -> bool:
    """Whether every byte of an object of JSON is as it was written."""
    place = text.rfind(b",")
    seal = _SEAL.fullmatch(text, max(place, 0))
    return seal is not None and int(seal[1], 16) == zlib.crc32(text[:place])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _from_json(values: Any) -> RunInfo:
    if not isinstance(values, dict) or type(values.get("schema_version")) is not int:
        raise ValueError("it states no schema_version")
    if values["schema_version"] > SCHEMA_VERSION:
        raise ValueError(f"schema version {values['schema_version']} needs a newer kdanalysis")
    if type(values.get("num_classes")) is not int:
        raise ValueError("it states no num_classes")
    known = {f.name for f in fields(RunInfo)}
    kept = {name: value for name, value in values.items() if name in known}
    lists = ("terms", "scales", "kept_temperatures", "kept_ks")
    tuples = {name: tuple(kept.get(name, ())) for name in lists}
    return RunInfo(**kept | tuples)
