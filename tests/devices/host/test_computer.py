import json
import os

import pytest

from devices.errors import DeviceOptionError
from devices.host import computer as host
from devices.host.computer import (
    allowed_cores,
    attached,
    choose_cores,
    cpu_model,
    describe_host,
    host_state,
    parse_cores,
    pinned,
    resolve_cores,
)

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin threads")


def test_provenance_is_json_and_names_the_processor():
    found = describe_host(allowed_cores()[:1])
    assert found.model == cpu_model() != ""
    assert found.fields["cores_used"] == [allowed_cores()[0]]
    assert found.fields["cores_online"] >= 1
    assert json.loads(json.dumps(found.fields)) == found.fields
    assert found.model in attached()[0]


def test_what_the_processor_computes_with_and_its_caches_are_known(monkeypatch, tmp_path):
    """As Linux tells them of two processors; flags that no kernel asks for are left out."""
    for index, (level, kind, size) in enumerate(
        [(1, "Data", "32K"), (1, "Instruction", "64K"), (2, "Unified", "1M"), (3, "Unified", "x")]
    ):
        folder = tmp_path / f"cpu1/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(host, "_CPU", tmp_path)
    monkeypatch.setattr(host, "_cpuinfo", lambda *_: {"flags": "fpu avx2 fma sse4_2 avx512f vaes"})
    fields = describe_host((1,)).fields
    assert fields["caches_kib"] == {"L1d": 32, "L1i": 64, "L2": 1024}
    assert fields["instruction_sets"] == ["avx2", "avx512f", "fma", "sse4_2"]
    monkeypatch.setattr(host, "_cpuinfo", lambda *_: {"Features": "fp asimd evtstrm aes asimddp cpuid"})
    assert describe_host((0,)).fields["instruction_sets"] == ["asimd", "asimddp"]
    assert describe_host((0,)).fields["caches_kib"] == {}


def test_provenance_does_not_name_the_machine():
    assert os.uname().nodename not in json.dumps(describe_host().fields)


def test_the_state_has_a_load_where_the_system_counts_tasks():
    state = host_state()
    assert state.load is None or state.load >= 0
    assert state.throttled is False


@pytest.mark.parametrize("text", ["", "x", "1-", "-1", "0;1", "1,,2", "٣"])
def test_what_is_no_list_of_cores_is_refused(text):
    with pytest.raises(DeviceOptionError, match="not a list of cores"):
        parse_cores(text)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 2300MHz\n\nmachine\t\t: PowerNV\n", "POWER9"),
        ("system type\t\t: generic\n\nprocessor\t\t: 0\nModel Name\t\t: Loongson-3A5000\n", "Loongson-3A5000"),
        ("processor\t\t: 0\ncpu model\t\t: MIPS 24KEc V5.0\n", "MIPS 24KEc"),
        ("processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: 0x022\n", "0x61/0x022"),
    ],
)
def test_processors_of_other_makers_are_named(monkeypatch, text, model):
    monkeypatch.setattr(host, "_read", lambda path: text if path.name == "cpuinfo" else None)
    assert model in describe_host((0,)).model


def test_cores_the_wrong_way_round_are_not_no_cores():
    with pytest.raises(DeviceOptionError, match="names no core in 1-0; write the lower one first"):
        parse_cores("1-0")


def test_the_clock_is_that_of_the_core_though_others_are_off_line(monkeypatch):
    text = "".join(f"processor\t: {core}\ncpu MHz\t\t: {1000 * core}.5\n\n" for core in (0, 2, 3))
    monkeypatch.setattr(host, "_read", lambda path: text if path.name == "cpuinfo" else None)
    assert host_state((3,)).clock_mhz == 3000.5


def test_cores_that_are_not_here_are_named():
    with pytest.raises(DeviceOptionError, match="core 4000 is not one"):
        parse_cores("4000")


def test_lists_and_ranges_of_cores():
    first, last = allowed_cores()[0], allowed_cores()[-1]
    assert parse_cores(f"{last}, {first}") == tuple(dict.fromkeys((last, first)))
    if allowed_cores() == tuple(range(first, last + 1)):
        assert parse_cores(f"{first}-{last}") == allowed_cores()


def test_as_many_cores_are_chosen_as_there_are_threads():
    slept = []
    chosen = choose_cores(1, slept.append)
    assert len(chosen) == 1
    assert set(chosen) <= set(allowed_cores())
    assert choose_cores(10_000, slept.append) == allowed_cores()


@needs_affinity
def test_affinity_options():
    assert resolve_cores("none", 1) == ()
    assert resolve_cores(str(allowed_cores()[0]), 1) == (allowed_cores()[0],)
    assert len(resolve_cores(None, 1)) == 1


@needs_affinity
def test_pinning_ends_with_the_block_even_after_an_error():
    before = os.sched_getaffinity(0)
    seen = []

    def fail():
        with pinned(allowed_cores()[:1]):
            seen.append(os.sched_getaffinity(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [{allowed_cores()[0]}]
    assert os.sched_getaffinity(0) == before
    with pinned(()):
        assert os.sched_getaffinity(0) == before
