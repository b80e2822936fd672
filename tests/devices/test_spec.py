import pytest

from devices import DeviceInfo, DeviceSpec, list_specs, load_spec, open_backend
from devices.errors import DeviceMismatchError, DeviceOptionError, UnknownDeviceError
from devices.registry import BACKENDS


@pytest.mark.parametrize("name", list_specs())
def test_every_spec_loads_and_names_a_known_back_end(name):
    spec = load_spec(name)
    assert spec.name == name
    assert spec.title
    assert spec.backend in BACKENDS
    assert spec.threads >= 1
    assert spec.batch >= 1


def test_a_phone_and_a_gpu_are_no_cpu():
    assert {"cpu", "cpu_i5", "cpu_tflite"} <= set(list_specs())


def test_an_unknown_device_lists_the_known_ones():
    with pytest.raises(UnknownDeviceError, match=r"unknown device 'cpuu'; known are .*cpu_i5"):
        load_spec("cpuu")


def test_a_spec_of_the_users_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "My board"\nbackend = "onnxruntime"\nthreads = 4\n')
    assert load_spec(str(path)) == DeviceSpec("mine", "My board", "onnxruntime", threads=4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\ntitle = "x"\nbackend = "fake"\nspeed = 1', "unknown keys speed"),
        ('name = "x"', "lacks backend, title"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UnknownDeviceError, match=says):
        load_spec(str(path))


def test_a_missing_spec_file_says_so(tmp_path):
    with pytest.raises(UnknownDeviceError, match=r"cannot read"):
        load_spec(str(tmp_path / "none.toml"))


def test_other_hardware_is_refused_and_can_be_allowed():
    spec = load_spec("cpu_i5")
    found = DeviceInfo("cpu", "AMD EPYC", {"cpu_model": "AMD EPYC"})
    with pytest.raises(DeviceMismatchError, match=r"found AMD EPYC, not cpu_i5.*--allow-mismatch"):
        spec.check(found)
    assert "AMD EPYC" in (spec.check(found, allow_mismatch=True) or "")


def test_the_right_hardware_is_recognised():
    found = DeviceInfo("cpu", "x", {"cpu_model": "Intel(R) Core(TM) I5-7400 CPU @ 3.00GHz"})
    assert load_spec("cpu_i5").check(found) is None


def test_an_unknown_back_end_lists_the_known_ones():
    with pytest.raises(UnknownDeviceError, match=r"back-end 'abacus'; known are .*fake"):
        open_backend(DeviceSpec("x", "x", "abacus"))


def test_an_option_that_a_back_end_does_not_take_is_named():
    with pytest.raises(DeviceOptionError, match=r"device cpu takes no --benchmark-model"):
        open_backend(load_spec("cpu"), benchmark_model="file")
