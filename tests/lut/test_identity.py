import pytest

from devices.fake import FakeBackend
from devices.host import describe_host
from lut.identity import IDENTITY, Unlike, identity_of, unlike

EPYC = {
    "kind": "cpu",
    "model": "AMD EPYC",
    "cpu_model": "AMD EPYC",
    "cpu_family_model_stepping": "25/1/1",
    "instruction_sets": ["avx2", "fma"],
    "caches_kib": {"L1d": 32, "L2": 512},
    "memory_mib": 24105,
    "hypervisor_vendor": None,
    "load_1min_at_start": 0.1,
}
PHONE = {"kind": "phone", "model": "Fake (MSM8996pro)", "soc": "MSM8996pro", "core_max_mhz": [2188.8, 2342.4]}


def test_a_device_is_like_itself_whatever_it_does_at_the_moment():
    assert unlike(EPYC, EPYC) == ()
    assert unlike(EPYC, {**EPYC, "load_1min_at_start": 9.0, "memory_mib": 24001}) == ()


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"cpu_family_model_stepping": "26/2/1"}, "cpu family model stepping 25/1/1 (the table's: 26/2/1)"),
        ({"instruction_sets": ["avx2", "avx512f", "fma"]}, "instruction sets without avx512f (unlike the table's)"),
        ({"instruction_sets": ["avx2"]}, "instruction sets with fma (unlike the table's)"),
        ({"caches_kib": {"L1d": 48}}, "caches kib L1d 32, L2 512 (the table's: L1d 48)"),
        ({"memory_mib": 12000}, "memory mib 24105 (the table's: 12000)"),
        ({"model": "Intel Xeon", "cpu_family_model_stepping": "6/1/1"}, "device AMD EPYC (the table's: Intel Xeon)"),
    ],
)
def test_what_is_unlike_is_named_with_both_values(facts, says):
    assert [item.describe("the table's") for item in unlike(EPYC, {**EPYC, **facts})] == [says]


def test_phones_differ_by_chip_build_and_clocks():
    assert unlike(PHONE, PHONE) == ()
    slower = {**PHONE, "core_max_mhz": [2150.4, 2150.4]}
    assert unlike(PHONE, slower) == (Unlike("core_max_mhz", PHONE["core_max_mhz"], slower["core_max_mhz"]),)
    assert unlike({**PHONE, "build_fingerprint": "a"}, {**PHONE, "build_fingerprint": "b"})


def test_gpus_differ_by_memory_and_driver():
    one = {"kind": "gpu", "model": "NVIDIA X", "gpu_name": "NVIDIA X", "memory_bytes": 80 << 30, "driver": "550.1"}
    assert unlike(one, one) == ()
    assert [item.name for item in unlike(one, {**one, "memory_bytes": 40 << 30, "driver": "560.2"})] == [
        "memory_bytes",
        "driver",
    ]


def test_what_one_side_does_not_know_is_not_compared():
    assert unlike(EPYC, {"kind": "cpu", "model": "AMD EPYC", "cpu_model": "AMD EPYC"}) == ()
    assert unlike(EPYC, {"name": "imported"}) == ()
    assert unlike({"name": "a"}, {"name": "b"}) == ()


def test_this_machine_says_all_that_tells_it_from_others():
    found = describe_host()
    facts = identity_of(found.kind, found.fields)
    assert set(facts) <= set(IDENTITY["cpu"])
    assert {"cpu_model", "architecture", "cores_online"} <= set(facts)
    assert unlike({"kind": found.kind, "model": found.model, **found.fields}, {"kind": "cpu", **facts}) == ()


def test_other_kinds_are_known_by_their_name():
    found = FakeBackend().device()
    assert identity_of(found.kind, {"model": found.model, **found.fields}) == {"model": found.model}
