"""Bad input to each command it applies to: one clear line, the right exit code, nothing half-written.

A line says what is wrong, the value, and what to do. Every case runs in a folder whose files are compared before
and after: a command that is refused leaves all as it was.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lut.table import LatencyTable
from pnag.accuracy.archive import AccuracyArchive
from pnag.space.sampling import sample_spread
from pnag.space.spaces import load_space
from tests.pnag.commands import MAIN, Ended, Run, runner
from tests.pnag.tiny import TINY_SPACE, random_supernet
from tests.tables import made_up_table

ROOT = Path(__file__).parents[1]
SPACE = load_space("ofa-mbv3-w0.25", resolution=32, classes=10)
OTHER = load_space("ofa-mbv3-w1.0", resolution=32, classes=10)
SMALL = "--resolution 32 --classes 10 --calibrate 8 --holdout 4"
TRAIN = "--lut good.parquet --accuracy good.csv"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good files and bad ones."""
    from pnag.runs.pipeline import train_run
    from pnag.runs.request import TrainRequest
    from profiler.console import Progress

    desk = tmp_path_factory.mktemp("desk")
    table = made_up_table(SPACE)
    table.save(desk / "good.parquet")
    made_up_table(OTHER).save(desk / "other.parquet")
    made_up_table(replace(SPACE, resolutions=(24, 32))).save(desk / "sides.parquet")
    LatencyTable(table.entries[5:], table.metadata).save(desk / "part.parquet")
    whole = (desk / "good.parquet").read_bytes()
    (desk / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (desk / "bitten.parquet").write_bytes(_flipped(whole, len(whole) // 3))
    (desk / "scratched.parquet").write_bytes(_flipped(whole, len(whole) - 700))
    (desk / "text.parquet").write_text("block,latency_ms\n")
    (desk / "empty.parquet").write_bytes(b"")
    rng = np.random.default_rng(0)
    costs = SPACE.cost_model(table)
    tokens = sample_spread(SPACE, 60, costs, rng)
    AccuracyArchive(SPACE, tokens, costs(tokens) / 10).save(desk / "good.csv")
    AccuracyArchive(OTHER, OTHER.sample(30, rng), np.full(30, 0.5)).save(desk / "other-archive.parquet")
    random_supernet(replace(TINY_SPACE, classes=10)).save(desk / "tiny.safetensors")
    (desk / "fake.toml").write_text('name = "fake"\ntitle = "fake device"\nbackend = "fake"\n')
    (desk / "folder.parquet").mkdir()
    (desk / "folder.json").mkdir()
    (desk / "nothing").mkdir()
    request = TrainRequest(desk / "good.parquet", desk / "run", accuracy=desk / "good.csv", method="random")
    train_run(request, tell=lambda _: None, progress=Progress)
    return desk


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@pytest.fixture
def commands(desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ended]:
    """Types a line in that folder, its words split at blanks."""
    monkeypatch.chdir(desk)

    def call(line: str) -> Ended:
        name, *words = line.split(" ")
        run: Run = runner(MAIN[name], capsys, monkeypatch)
        return run(*words)

    return call


@pytest.fixture
def untouched(desk: Path) -> Iterator[None]:
    """No file of the folder is changed, made or removed."""
    before = _content(desk)
    yield
    assert _content(desk) == before


def _content(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_refused(ended: Ended, line: str, code: int, *words: str) -> None:
    """One line on stderr, named by the command, and nothing on stdout."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert ended.err.startswith(f"{line.partition(' ')[0]}: ")
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err


UNKNOWN_DEVICE = [
    ("pnag-profile --device abacus", "unknown device 'abacus'; known are android, cpu"),
    ("pnag-profile --device none.toml", "cannot read none.toml"),
    ("pnag-profile --device good.csv.toml", "cannot read good.csv.toml"),
    ("pnag-generate 3.2 --from run --verify abacus", "unknown device 'abacus'; known are android, cpu"),
]

ZOO = [
    ("pnag-profile --device fake.toml --zoo-only abacus", "'abacus' is no network of the zoo"),
    ("pnag-profile --device fake.toml --zoo --classes 10", "--classes 10 is for the blocks of a space"),
    ("pnag-generate --beside none.json --from run", "cannot read none.json: No such file or directory"),
    ("pnag-generate --beside good.csv --from run", "good.csv is no JSON"),
    ("pnag-generate --beside run/run.json --from run", "run/run.json is no measured zoo"),
    ("pnag-generate 3.2 --beside none.json --from run", "--beside prints pairs alone; leave budgets out"),
    ("pnag-generate --beside none.json --verify abacus --from run", "unknown device 'abacus'"),
]

BUDGETS = [
    ("0", 2, "a budget of 0 is not a time above zero; write it as 140ms"),
    ("0ms", 2, "a budget of 0ms is not a time above zero"),
    ("-5ms", 2, "a budget of -5ms is not a time above zero; write it as 140ms"),
    ("abc", 2, "'abc' is not a budget; write it as 140ms"),
    ("", 2, "'' is not a budget"),
    ("1,5", 2, "'1,5' is not a budget"),
    ("nan", 2, "'nan' is not a budget"),
    ("1e999", 2, "a budget of 1e999 is not a time above zero"),
    ("0.001ms", 4, "a budget of 0.001 ms is below the cheapest network of ofa-mbv3-w0.25"),
    ("3.2 -5ms", 2, "a budget of -5ms"),
    ("3.2 0.001ms", 4, "below the cheapest"),
]

DAMAGED = {
    "none.parquet": "no latency table at none.parquet; make one with pnag-profile",
    "folder.parquet": "no latency table at folder.parquet",
    "cut.parquet": "cut.parquet is damaged or not a parquet file",
    "bitten.parquet": "bitten.parquet is damaged or not a parquet file",
    "scratched.parquet": "scratched.parquet is damaged or not a parquet file",
    "text.parquet": "text.parquet is damaged or not a parquet file",
    "empty.parquet": "empty.parquet is damaged or not a parquet file",
    "other-archive.parquet": "other-archive.parquet is parquet but not a latency table",
}
READERS = [
    "pnag-lut show {}",
    "pnag-lut check {}",
    "pnag-lut diff {} good.parquet",
    "pnag-lut diff good.parquet {}",
    "pnag-lut export {} --out new.csv",
    "pnag-train --lut {} --accuracy good.csv --out new",
]

OF_ANOTHER_SPACE = [
    (f"pnag-train {TRAIN.replace('good.csv', 'other-archive.parquet')} --out new",
     "archive other-archive.parquet is of space ofa-mbv3-w1.0 with width 1.0, not of ofa-mbv3-w0.25 with 0.25"),
    ("pnag-train --lut other.parquet --accuracy good.csv --out run", "space = ofa-mbv3-w0.25, not ofa-mbv3-w1.0"),
    ("pnag-train --lut part.parquet --accuracy good.csv --out new", "is not in the table; profile it"),
    ("pnag-train --lut good.parquet --data digits --supernet tiny.safetensors --out new", "tiny.safetensors"),
    ("pnag-train --lut sides.parquet --accuracy good.csv --out new",
     "archive good.csv does not say at which resolution its accuracies are, and the table has 24, 32 pixels"),
    ("pnag-train --lut sides.parquet --data digits --resolution 32 --out new",
     "the table has a choice of 24, 32 pixels, and networks are trained and evaluated at each; leave out --resolution"),
    ("pnag-generate 3.2 --from run --weights tiny.safetensors --export new.onnx", "checkpoint tiny.safetensors is of"),
    ("pnag-generate 3.2 --from run --weights none.pth --export new.onnx", "no checkpoint at none.pth; check the path"),
    ("pnag-generate 3.2 --from run --weights good.csv --export new.onnx", "good.csv"),
    ("pnag-generate 3.2 --from run --weights tiny.safetensors", "is for networks that are made; give --export"),
    ("pnag-generate 3.2 --from run --data digits --export new.onnx", "is for the weights of a checkpoint; give --weig"),
    ("pnag-lut diff good.parquet other.parquet", "have no block in common; compare tables of one space"),
]  # fmt: skip

UNWRITABLE = [
    (f"pnag-profile --device fake.toml {SMALL} --out good.csv/t.parquet", "good.csv is not a folder"),
    (f"pnag-profile --device fake.toml {SMALL} --out folder.parquet", "it is a folder"),
    (f"pnag-train {TRAIN} --out good.csv", "good.csv is not a folder"),
    (f"pnag-train {TRAIN} --out good.csv/run", "good.csv is not a folder"),
    ("pnag-generate 3.2 --from run --export good.csv/net.tflite", "good.csv is not a folder"),
    ("pnag-generate 3.2 3.3 --from run --export good.csv/net.onnx", "good.csv is not a folder"),
    ("pnag-generate 3.2 --from run --export folder.json", "it is a folder"),
    ("pnag-lut export good.parquet --out good.csv/o.csv", "good.csv is not a folder"),
    ("pnag-lut show good.parquet --plot good.csv/o.png", "good.csv is not a folder"),
    ("pnag-lut diff good.parquet good.parquet --plot good.csv/o.png", "good.csv is not a folder"),
]

NO_RUN = [
    ("pnag-generate 3.2 --from nothing", "no generator in nothing; train one with pnag-train --out nothing"),
    ("pnag-generate 3.2 --from nowhere", "no generator in nowhere"),
    ("pnag-generate 3.2 --from good.csv", "no generator in good.csv"),
    ("pnag-generate 3.2", "no trained run under"),
]


@pytest.mark.parametrize(("line", "says"), UNKNOWN_DEVICE)
def test_an_unknown_device(commands: Callable[[str], Ended], untouched: None, line: str, says: str) -> None:
    assert_refused(commands(line), line, 2, says)


@pytest.mark.parametrize(("budget", "code", "says"), BUDGETS)
def test_a_budget_that_cannot_be(
    commands: Callable[[str], Ended], untouched: None, budget: str, code: int, says: str
) -> None:
    line = f"pnag-generate {budget} --from run --export new.json"
    assert_refused(commands(line), line, code, says, *(["choose from"] if code == 4 else []))


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ("--also good.parquet", 2, "--also good.parquet lacks a table or a budget; write it as lut/pixel.parquet=45ms"),
        ("--also none.parquet=45ms", 2, "no latency table at none.parquet"),
        ("--also cut.parquet=45ms", 2, "is damaged or not a parquet file"),
        ("--also other.parquet=45ms", 2, "use the two of one space"),
        ("--also good.parquet=45kg", 2, "'45kg' is not a budget"),
        (
            "--also good.parquet=0.001ms",
            4,
            "0.001 ms on good is below the cheapest network of ofa-mbv3-w0.25: choose from",
        ),
        ("--max-params 0", 2, "--max-params 0 is no number above zero; write it as 8M"),
        ("--max-params 1k", 4, "0.001M parameters is below the cheapest network of ofa-mbv3-w0.25: choose from"),
        ("--max-macs many", 2, "--max-macs many is no number above zero"),
        ("--max-size 20", 2, "--max-size 20 is no size above zero; write it as 20MB"),
        ("--csv good.csv/list.csv", 2, "good.csv is not a folder"),
    ],
)
def test_a_limit_that_cannot_be(
    commands: Callable[[str], Ended], untouched: None, options: str, code: int, says: str
) -> None:
    line = f"pnag-generate 9ms --from run {options}"
    assert_refused(commands(line), line, code, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [("", "no budget; give one or more"), (" --frontier 1", "ask for 2 to 1000"), (" --frontier 0ms", "0ms")],
)
def test_a_question_without_budgets(commands: Callable[[str], Ended], untouched: None, words: str, says: str) -> None:
    line = f"pnag-generate --from run{words}"
    assert_refused(commands(line), line, 2, says)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_or_truncated_table(
    commands: Callable[[str], Ended], untouched: None, file: str, reader: str
) -> None:
    line = reader.format(file)
    assert_refused(commands(line), line, 2, DAMAGED[file])


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("cut.parquet", "is damaged or not a parquet file"),
        ("other.parquet", "is not the table that spoilt learnt from; train again"),
    ],
)
def test_a_run_whose_table_is_damaged_or_of_another_space(
    commands: Callable[[str], Ended], desk: Path, table: str, says: str
) -> None:
    shutil.copytree(desk / "run", desk / "spoilt", dirs_exist_ok=True)
    shutil.copy(desk / table, desk / "spoilt" / "table.parquet")
    before = _content(desk)
    line = "pnag-generate 3.2 --from spoilt --export new.json"
    assert_refused(commands(line), line, 2, says)
    assert _content(desk) == before


def test_a_run_whose_generator_is_truncated(commands: Callable[[str], Ended], desk: Path) -> None:
    shutil.copytree(desk / "run", desk / "torn", dirs_exist_ok=True)
    whole = (desk / "run" / "generator.npz").read_bytes()
    (desk / "torn" / "generator.npz").write_bytes(whole[: len(whole) // 2])
    line = "pnag-generate 3.2 --from torn"
    assert_refused(commands(line), line, 2, "torn/generator.npz is damaged", "train again")


@pytest.mark.parametrize(("line", "says"), OF_ANOTHER_SPACE)
def test_a_table_of_another_space(commands: Callable[[str], Ended], untouched: None, line: str, says: str) -> None:
    assert_refused(commands(line), line, 2, says)


def test_latencies_of_another_space(commands: Callable[[str], Ended], desk: Path) -> None:
    assert commands("pnag-lut export other.parquet --out latencies.csv").code == 0
    before = _content(desk)
    line = "pnag-lut import latencies.csv --device x --space ofa-mbv3-w0.25 --resolution 32 --out new.parquet"
    assert_refused(commands(line), line, 2, "latencies.csv: line 2: block conv-i3-o16", "is not in the space")
    assert _content(desk) == before


def test_a_session_of_another_space_is_not_gone_on_with(commands: Callable[[str], Ended], desk: Path) -> None:
    (desk / "frail.toml").write_text('name = "frail"\ntitle = "x"\nbackend = "fake"\noptions = {lose_at = 200}\n')
    line = f"pnag-profile --device frail.toml {SMALL} --out session.parquet"
    assert commands(line).code == 3
    before = _content(desk)
    ended = commands(f"{line} --space ofa-mbv3-w0.25")
    assert ended.code == 2
    assert ended.says("session.journal belongs to a session with other settings", "--fresh")
    assert _content(desk) == before


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda d, k, e: f"{d}:9{k[1:]}:{e}", "kernel 9 is not in space ofa-mbv3-w0.25; choose from (3, 5, 7)"),
        (lambda d, k, e: f"{d}:{k}:7{e[1:]}", "expand 7 is not in space"),
        (lambda d, k, e: f"9{d[1:]}:{k}:{e}", "a depth of 9"),
        (lambda d, k, e: f"{d}:{k[:-2]}:{e}", "5 depths, 19 kernels and 20 expands"),
        (lambda d, k, e: f"{d}:{k}", "has 2 parts; an architecture is 'depths:kernels:expands'"),
        (lambda d, k, e: f"{d}:x{k[1:]}:{e}", "'x' in '"),
        (lambda d, k, e: "", "parts"),
    ],
)
def test_an_architecture_with_a_wrong_number_or_count(
    commands: Callable[[str], Ended], desk: Path, wrong: Callable[[str, str, str], str], says: str
) -> None:
    header, _, *rows = (desk / "good.csv").read_text().splitlines()
    depths, kernels, expands = str(SPACE.extremes()[1]).split(":")
    bad = f'"{wrong(depths, kernels, expands)}",0.5,val'
    (desk / "wrong.csv").write_text("\n".join([header, *rows[:7], bad, *rows[7:]]) + "\n")
    before = _content(desk)
    line = f"pnag-train {TRAIN.replace('good.csv', 'wrong.csv')} --out new"
    assert_refused(commands(line), line, 2, "row 8 of archive wrong.csv", says, "correct or remove the row")
    assert _content(desk) == before


@pytest.mark.parametrize(("line", "says"), UNWRITABLE)
def test_an_output_that_cannot_be_written(
    commands: Callable[[str], Ended], untouched: None, line: str, says: str
) -> None:
    assert_refused(commands(line), line, 2, "cannot write", says, "choose another place")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f"pnag-profile --device fake.toml {SMALL} --out nothing/t.parquet", "nothing/t.parquet"),
        (f"pnag-train {TRAIN} --out nothing/run", "nothing/run"),
        ("pnag-generate 3.2 --from run --export nothing/net.json", "nothing/net.json"),
        ("pnag-lut export good.parquet --out nothing/o.csv", "nothing/o.csv"),
    ],
)
def test_a_folder_without_permission(
    commands: Callable[[str], Ended], desk: Path, untouched: None, line: str, path: str
) -> None:
    (desk / "nothing").chmod(0o555)
    try:
        if os.access(desk / "nothing", os.W_OK):
            pytest.skip("this user may write everywhere")
        assert_refused(commands(line), line, 2, f"cannot write {path}", "Permission denied; choose another place")
    finally:
        (desk / "nothing").chmod(0o755)


@pytest.mark.parametrize(("line", "says"), ZOO)
def test_a_zoo_that_is_none(commands: Callable[[str], Ended], untouched: None, line: str, says: str) -> None:
    assert_refused(commands(line), line, 2, says)


@pytest.mark.parametrize(("line", "says"), NO_RUN)
def test_an_empty_run_directory(commands: Callable[[str], Ended], untouched: None, line: str, says: str) -> None:
    assert_refused(commands(line), line, 2, says, "pnag-train")


# -- a full disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Takes the bytes that any file may still have: as good as a full disk, and real to whatever library writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f"pnag-profile --device fake.toml {SMALL} --out new.parquet", "new.journal"),
        (f"pnag-train {TRAIN} --out new", "new/archive.parquet"),
        ("pnag-generate 3.2 --from run --export new.json", "new.json"),
        ("pnag-generate 3.2 --from run --export new.onnx", "new.onnx"),
        ("pnag-generate 3.2 --from run --export new.pt2", "new.pt2"),
        ("pnag-generate 3.2 --from run --export new.tflite", "new.tflite"),
        ("pnag-lut export good.parquet --out new.csv", "new.csv"),
        ("pnag-lut export good.parquet --out new.yaml", "new.yaml"),
        ("pnag-lut show good.parquet --plot new.png", "new.png"),
        ("pnag-lut diff good.parquet good.parquet --plot new.png", "new.png"),
    ],
)
def test_a_full_disk(
    commands: Callable[[str], Ended], full_disk: Callable[[int], None], untouched: None, line: str, path: str
) -> None:
    full_disk(0)
    ended = commands(line)
    full_disk(resource.RLIM_INFINITY)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.says(f"cannot write {path}: ")


def test_a_full_disk_for_an_import(
    commands: Callable[[str], Ended], full_disk: Callable[[int], None], desk: Path
) -> None:
    assert commands("pnag-lut export good.parquet --out small.csv").code == 0
    before = _content(desk)
    full_disk(0)
    line = "pnag-lut import small.csv --device x --space ofa-mbv3-w0.25 --resolution 32 --classes 10 --out new.parquet"
    ended = commands(line)
    full_disk(resource.RLIM_INFINITY)
    assert_refused(ended, line, 2, "cannot write new.parquet: ", "choose another place")
    assert _content(desk) == before


def test_a_disk_that_fills_up_costs_no_measurement(
    commands: Callable[[str], Ended], full_disk: Callable[[int], None], desk: Path
) -> None:
    line = f"pnag-profile --device fake.toml {SMALL} --out filling.parquet --json"
    full_disk(400_000)  # room for some segments: a visit's line has the times of all its calls
    ended = commands(line)
    full_disk(resource.RLIM_INFINITY)
    assert ended.code == 2
    assert ended.says("cannot write filling.journal: ", "make room, run again")
    assert [path.name for path in desk.glob("*filling*")] == ["filling.journal"]
    again = commands(line)
    assert again.code == 0
    assert again.document["quality"]["resumed_visits"] > 0
    assert sorted(path.name for path in desk.glob("*filling*")) == ["filling.parquet", "filling.visits.gz"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["3.2 --from run", "3.2 --from run --json"])
def test_an_answer_that_has_no_room(desk: Path, words: str) -> None:
    command = [sys.executable, "-m", "pnag.cli_generate", *words.split()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=desk, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot write the answer: No space left on device" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(desk: Path) -> None:
    command = f"{sys.executable} -m lut.cli show good.parquet --json | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=desk, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")
