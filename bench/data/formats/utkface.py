"""UTKFace, whose file names hold the labels (Zhang et al. 2017, arXiv 1702.08423)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from bench.data.table import FilePictures, Table, existing, files_below

# 26_1_2_20170116184024662.jpg.chip.jpg: age, gender, race, date and time. The released aligned faces hold a name with a
# space after the date, and one without the dot there.
NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{8,}(jpg)? ?(\.[A-Za-z]+)+")
GENDER = ("male", "female")
RACE = ("White", "Black", "Asian", "Indian", "Others")


@dataclass(frozen=True)
class Format:
    """[age]_[gender]_[race]_[date].jpg in any folders; age is a number, so give it `edges`.

    A file with another name counts as unusable: in the released aligned faces three lack the race.

    Attributes:
        root: the folder of the images.
    """

    root: str

    def table(self) -> Table:
        """Read the labels and list the files; see `bench.data.table.Format`."""
        root = existing(self.root)
        matches = {name: NAME.fullmatch(PurePosixPath(name).name) for name in files_below(root)}
        problems = {
            name: "its name is not [age]_[gender]_[race]_[date].jpg" for name, m in matches.items() if m is None
        }
        fields = {name: m for name, m in matches.items() if m is not None}
        columns = {
            "age": [m["age"] for m in fields.values()],
            "gender": [GENDER[int(m["gender"])] for m in fields.values()],
            "race": [RACE[int(m["race"])] for m in fields.values()],
        }
        return Table(FilePictures(root, list(fields)), columns, {"gender": GENDER, "race": RACE}, problems)
