"""Specs of one's own with a mistake in each: one line that names file, key and what may stand there."""

import ctypes

import pytest

from devices import DeviceInfo, DeviceSpec, list_specs, load_spec, open_backend
from devices.backends import BACKENDS, declared_options
from devices.cuda.cards import DriverCard, choose_card, list_cards, require_card, require_cuda_torch
from devices.errors import DeviceError, DeviceOptionError, RuntimeUnavailableError
from devices.options import Option
from devices.spec import matches

HEAD = 'name = "mine"\ntitle = "mine"\n'
ORT, LITERT, PHONE, FAKE, CUDA = (
    f'{HEAD}backend = "{name}"\n' for name in ("onnxruntime", "litert", "android", "fake", "cuda")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ORT + 'threads = "2"', "threads is '2'; give a whole number from 1 on"),
        (FAKE + 'threads = "2"', "threads is '2'"),
        (ORT + "threads = true", "threads is true"),
        (ORT + "threads = 1.0", "threads is 1.0"),
        (ORT + "batch = 0", "batch is 0; give a whole number from 1 on"),
        (ORT + "batch = 99999", "batch is 99999"),
        (ORT + 'precision = "float64"', "precision is 'float64'; give one of float32"),
        (ORT + "precision = 32", "precision is 32"),
        (FAKE + 'match = "i5"', "match is 'i5'; give a table"),
        (FAKE + "[match]\ncpu_model = 'i5-(7400'", "cpu_model in [match] is 'i5-(7400', not a regular expression"),
        (FAKE + "[match]\ncpu_model = 5", "cpu_model in [match] is 5; give a regular expression"),
        (FAKE + "[match]\ncpu_model = ['i5']", "cpu_model in [match] is a list"),
        (ORT + 'options = "x"', "options is 'x'; give a table"),
        (FAKE + "sampling = []", "sampling is a list; give a table"),
        ('name = 3\ntitle = "mine"\nbackend = "fake"', "name is 3; give letters"),
        ('name = ""\ntitle = "mine"\nbackend = "fake"', "name is ''"),
        ('name = "../x"\ntitle = "mine"\nbackend = "fake"', "name is '../x'"),
        ('name = "a/b"\ntitle = "mine"\nbackend = "fake"', "name is 'a/b'"),
        ('name = "/tmp/x"\ntitle = "mine"\nbackend = "fake"', "name is '/tmp/x'"),
        ('name = ".hidden"\ntitle = "mine"\nbackend = "fake"', "name is '.hidden'"),
        ('name = "a\\nb"\ntitle = "mine"\nbackend = "fake"', "name is 'a\\nb'"),
        ('name = "cpu"\ntitle = "mine"\nbackend = "fake"', "name is 'cpu', which is a device of the program"),
        ('name = "mine"\ntitle = ["x"]\nbackend = "fake"', "title is a list"),
        ('name = "mine"\ntitle = "x\\ty"\nbackend = "fake"', "title is 'x\\ty'"),
        (HEAD + 'backend = ["fake"]', "backend is a list; give the name of a back-end"),
        (HEAD + "backend = {name = 'fake'}", "backend is a table"),
        (HEAD + 'backend = "abacus"', "asks for back-end 'abacus'; known are android, cuda"),
        (ORT + "Threads = 2", "unknown keys Threads"),
        (ORT + "[option]\naffinity = '0'", "unknown keys option"),
        (ORT + '[options]\ngraph_optimisation = "none"', "there is no option graph_optimisation; known are affinity"),
        (
            ORT + '[options]\ngraph_optimization = "much"',
            "optimization 'much' is unknown; choose from none, basic",
        ),
        (ORT + "[options]\naffinity = [0, 1]", "affinity is a list; give text"),
        (LITERT + '[options]\naffinty = "0"', "there is no option affinty; known are affinity"),
        (PHONE + "[options]\nstrat_c = 30.0", "there is no option strat_c; known are adb, affinity"),
        (PHONE + '[options]\nstart_c = "warm"', "start_c is 'warm'; give a number from 0 to 99"),
        (PHONE + "[options]\nstart_c = nan", "start_c is nan"),
        (PHONE + "[options]\ncool_down_s = -1", "cool_down_s is -1"),
        (PHONE + '[options]\ndelegate = "npu"', "delegate 'npu' is unknown; choose from xnnpack, gpu, none"),
        (CUDA + "[options]\ngpu = -1", "gpu is -1; give a whole number from 0 on"),
        (CUDA + "[options]\ncold = 1", "cold is 1; give true or false"),
        (FAKE + "[options]\nsped = 1", "there is no option sped"),
        (FAKE + '[options]\nnoise = "loud"', "noise is 'loud'; give a number"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_what_may_stand_there(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n")
    with pytest.raises(DeviceError) as error:
        load_spec(str(path))
    line = str(error.value)
    assert words in line
    assert line.startswith(str(path))
    assert line.isprintable()
    assert error.value.exit_code == 2


@pytest.mark.parametrize("content", [b"name = '\xff'", b"[" * 5000, b"a = " + b"[" * 3000, b"\0", b"x = 1979-99-99"])
def test_what_is_no_toml_is_said_in_a_line(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(DeviceError, match=r"is not valid TOML \("):
        load_spec(str(path))


@pytest.mark.parametrize("name", [".toml", "\0.toml", "nowhere/x.toml"])
def test_names_that_are_no_files(name):
    with pytest.raises(DeviceError):
        load_spec(name)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_back_end_declares_its_options(name):
    for option in declared_options(name, "here"):
        assert option.name.isidentifier()
        assert option.help
        if option.default is not None:
            assert option.read(option.default, "here") == option.default


@pytest.mark.parametrize("name", list_specs())
def test_what_ships_keeps_to_the_declared_options(name):
    spec = load_spec(name)
    assert spec.where == f"{name}.toml"
    assert spec.settle(declared_options(spec.backend, "here")).items() >= dict(spec.options).items()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_editors_are_read(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_bytes((FAKE + "threads = 2\n").replace("\n", "\r\n").encode(encoding))
    assert load_spec(str(path)).threads == 2


def test_what_is_given_comes_before_the_spec_and_the_default():
    options = (Option("a", int, "", 1), Option("b", str, "", "x"), Option("c", float, "", 0.5))
    spec = DeviceSpec("x", "x", "fake", options={"b": "y", "c": 2})
    assert spec.settle(options, a=None, b="z") == {"a": 1, "b": "z", "c": 2.0}
    with pytest.raises(DeviceOptionError, match=r"device x: a is 'q'; give a whole number"):
        spec.settle(options, a="q")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (bool, "Yes", True),
        (bool, "off", False),
        (int, " 4 ", 4),
        (float, "1e-3", 1e-3),
        (float, "2", 2.0),
        (str, "0-1", "0-1"),
    ],
)
def test_values_of_the_command_line_are_read_by_type(kind, text, value):
    read = Option("x", kind, "").parse(text, "here")
    assert read == value
    assert type(read) is kind


@pytest.mark.parametrize(
    ("kind", "text"), [(bool, "maybe"), (int, "1.5"), (int, "9" * 5000), (float, "nan"), (float, "x")]
)
def test_values_of_another_type_are_refused(kind, text):
    with pytest.raises(DeviceOptionError, match="here: x is "):
        Option("x", kind, "").parse(text, "here")


def test_a_spec_option_reaches_the_back_end():
    backend = open_backend(DeviceSpec("x", "x", "fake", options={"noise": 0, "seed": 5}))
    assert (backend.settings.noise, backend.settings.seed) == (0.0, 5)


# -- which hardware -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "value", "same"),
    [
        ("i5-7400", "Intel(R) Core(TM) i5-7400 CPU @ 3.00GHz", True),
        ("i5-7400", "Intel(R) Core(TM) i5-7400T CPU @ 2.40GHz", False),
        ("i5-7400T?", "Intel(R) Core(TM) i5-7400T CPU @ 2.40GHz", True),
        ("TITAN X", "NVIDIA TITAN Xp", False),
        ("TITAN X", "NVIDIA TITAN X (Pascal)", True),
        ("msm8996", "MSM8996pro", False),
        ("Ryzen 5 5600", "AMD Ryzen 5 5600X 6-Core Processor", False),
        ("RTX 3080", "NVIDIA GeForce RTX 3080 Ti", True),
        ("5600|5600x", "AMD Ryzen 5 5600X", True),
        ("(?i:epyc)", "AMD EPYC", True),
        ("(?x) epyc", "AMD EPYC", True),
        ("EPYC", "", False),
    ],
)
def test_patterns_match_whole_words(pattern, value, same):
    assert matches(pattern, value) is same


def test_an_i5_7400_is_no_7400t():
    spec = load_spec("cpu_i5")
    found = DeviceInfo("cpu", "x", {"cpu_model": "Intel(R) Core(TM) i5-7400T CPU @ 2.40GHz"})
    assert "7400T" in (spec.mismatch(found) or "")


class Driver:
    """libcuda with two cards, which NVML counts the other way round."""

    cards = (
        ("NVIDIA GeForce RTX 4090", b"\x01" * 16, b"0000:41:00.0"),
        ("NVIDIA TITAN X (Pascal)", b"\x02" * 16, b"0000:01:00.0"),
    )

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.cards)
        return 0

    def cuDeviceGet(self, handle, index):  # noqa: N802
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, text, size, handle):  # noqa: N802
        text.value = self.cards[handle.value][0].encode()
        return 0

    def cuDeviceGetUuid(self, raw, handle):  # noqa: N802
        ctypes.memmove(raw, self.cards[handle.value][1], 16)
        return 0

    def cuDeviceGetPCIBusId(self, text, size, handle):  # noqa: N802
        text.value = self.cards[handle.value][2]
        return 0


def test_cards_are_told_apart_by_what_the_driver_says():
    cards = list_cards(Driver())
    assert cards[1] == DriverCard("NVIDIA TITAN X (Pascal)", "02020202-0202-0202-0202-020202020202", "0000:01:00.0")
    assert choose_card(load_spec("titan_x"), [card.name for card in cards]) == 1
    assert choose_card(load_spec("cuda"), [card.name for card in cards]) == 0
    assert choose_card(load_spec("titan_x"), ["NVIDIA TITAN Xp"]) == 0


def test_without_a_driver_there_are_no_cards():
    class Broken(Driver):
        def cuInit(self, flags):  # noqa: N802
            return 100

    assert list_cards(Broken()) == []


def test_whether_there_is_a_card_is_told_by_the_driver(monkeypatch):
    class Empty(Driver):
        cards = ()

    class Hidden(Driver):
        def cuInit(self, flags):  # noqa: N802
            return 100  # no device: CUDA_VISIBLE_DEVICES hides them

    class TooOld(Driver):
        def cuInit(self, flags):  # noqa: N802
            return 803

    assert require_card(Driver()) == "NVIDIA GeForce RTX 4090, NVIDIA TITAN X (Pascal)"
    assert require_card(TooOld()) == ""
    for driver in (Empty(), Hidden()):
        with pytest.raises(RuntimeUnavailableError, match="no NVIDIA GPU is visible"):
            require_card(driver)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__version__ = '2.9.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "torch 2.9.0+cu130"),
        ("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n", "torch 2.9.0+cpu is built without CUDA"),
        ("__version__ = '2.6.0'\ncuda = None\nhip = '6.2'\n", "torch 2.6.0 is built without CUDA"),
        ("from somewhere import cuda\n", "torch"),
    ],
)
def test_a_build_of_torch_is_known_by_its_files(tmp_path, text, says):
    (tmp_path / "version.py").write_text(text)
    try:
        said = require_cuda_torch(tmp_path)
    except RuntimeUnavailableError as error:
        said = str(error)
        assert "without CUDA" in says
    assert said.startswith(says)


def test_all_mistakes_of_a_file_are_said_together(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nbackend = "onnxruntime"\nthreads = 0\n[options]\naffinty = 1\ngraph_optimization = "much"\n'
        "[sampling]\nblock = 1\n"
    )
    with pytest.raises(DeviceError) as caught:
        load_spec(str(path), lambda sampling: [f"there is no key {key}" for key in sampling])
    for fault in ("lacks title", "threads is 0", "no option affinty", "'much' is unknown", "[sampling]: there is no"):
        assert fault in str(caught.value)
