"""The reader of NSL-KDD."""

from pathlib import Path

import pytest

from models.anomaly.readers.nsl_kdd import NSLKDDReader
from models.anomaly.telemetry import TelemetryError
from models.recommender.readers.files import MissingInputError

HEADER = """@relation 'x'
@attribute 'duration' real
@attribute 'protocol' {'tcp','udp', 'icmp'}
@attribute 'land' {'0', '1'}
@attribute 'class' {'normal', 'anomaly'}
@data
"""


def write(folder: Path, *rows: str, header: str = HEADER) -> NSLKDDReader:
    (folder / "columns.arff").write_text(header)
    (folder / "KDD.txt").write_text("\n".join(rows) + "\n")
    return NSLKDDReader(folder / "KDD.txt")


def test_words_become_fields_of_their_own(tmp_path: Path) -> None:
    telemetry = write(tmp_path, "2,udp,0,normal,20", "5,tcp,1,smurf,7").read()
    assert telemetry.fields == (
        "duration",
        "protocol=tcp",
        "protocol=udp",
        "protocol=icmp",
        "land",
    )
    assert telemetry.values.tolist() == [[2, 0, 1, 0, 0], [5, 1, 0, 0, 1]]
    assert telemetry.label.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2,sctp,0,normal,20", r"protocol is 'sctp', none of the 3 words"),
        ("fast,tcp,0,normal,20", r"row 0: duration is 'fast', not a number"),
        ("2,tcp,0,0,0,normal,20", r"7 columns, but 4 are described"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(TelemetryError, match=said):
        write(tmp_path, row).read()


def test_a_missing_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "KDD.txt").write_text("2,udp,0,normal,20\n")
    with pytest.raises(MissingInputError, match=r"arff"):
        NSLKDDReader(tmp_path / "KDD.txt").read()


@pytest.mark.realdata
def test_the_published_files(real_data: Path) -> None:
    telemetry = NSLKDDReader(real_data / "nsl-kdd" / "KDDTest-21.txt").read()
    assert telemetry.values.shape == (11850, 122)
    assert int(telemetry.label.sum()) == 9698
