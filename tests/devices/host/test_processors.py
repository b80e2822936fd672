"""/proc/cpuinfo as architectures write it, and zones that are no processor's heat."""

import pytest

from devices.host import computer as host


def arm(number, part, variant="0x0"):
    return (
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )


BOARD = "Hardware\t: BCM2835\nRevision\t: 000000\nModel\t\t: {}\n"
INTEL = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 158\nmodel name\t: Intel i5\nstepping\t: 9\n\n"
RISC_V = "processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdc\nuarch\t\t: sifive,u74-mc\nmvendorid\t: 0x489\n\n"
OLD_ARM = "Processor\t: ARMv7 rev 1 (v7l)\nprocessor\t: 0\nBogoMIPS\t: 1\n\nCPU part\t: 0xc09\nHardware\t: SMDK4x12\n"


@pytest.mark.parametrize(
    ("text", "cores", "model", "design"),
    [
        (arm(0, "0xd0b") + BOARD.format("Raspberry Pi 5 Model B"), (0,), "Raspberry Pi 5 Model B", "0x41/0xd0b/0x0/1"),
        (arm(0, "0xd03") + BOARD.format("Raspberry Pi 3 Model B"), (0,), "Raspberry Pi 3 Model B", "0x41/0xd03/0x0/1"),
        (arm(0, "0xd05") + arm(1, "0xd0b"), (1,), "0x41/0xd0b", "0x41/0xd0b/0x0/1"),
        (arm(0, "0xd05") + arm(1, "0xd0b"), (0, 1), "0x41/0xd05", "0x41/0xd05/0x0/1"),
        (arm(0, "0xd05") + "Hardware\t: Generic DT based system\n", (0,), "0x41/0xd05", "0x41/0xd05/0x0/1"),
        (INTEL, (0,), "Intel i5", "6/158/9"),
        (INTEL, (7,), "Intel i5", "6/158/9"),
        (RISC_V, (0,), "", "0x489/sifive,u74-mc/rv64imafdc"),
        (OLD_ARM, (0,), "SMDK4x12", ""),
        ("", (0,), "", "?/?/?"),
        ("rubbish\n\n:::\n\nprocessor\n", (0,), "", "?/?/?"),
    ],
)
def test_a_processor_is_known_by_what_its_architecture_tells(monkeypatch, text, cores, model, design):
    read = host._read
    monkeypatch.setattr(host, "_read", lambda path: text if str(path) == "/proc/cpuinfo" else read(path))
    found = host.describe_host(cores)
    assert model in found.model
    assert found.fields["cpu_model"] == found.model
    assert design in found.fields["cpu_family_model_stepping"]


@pytest.mark.parametrize(
    ("kind", "raw", "celsius"),
    [
        ("x86_pkg_temp", "45000", 45.0),
        ("cpu-thermal", "51500", 51.5),
        ("soc", "84", None),
        ("soc-thermal", "42000", 42.0),
        ("battery", "30000", None),
        ("cpu", "0", None),
        ("cpu", "-40000", None),
        ("cpu", "9" * 40, None),
        ("cpu", "hot", None),
    ],
)
def test_only_plausible_zones_of_the_processor_count(monkeypatch, tmp_path, kind, raw, celsius):
    zone = tmp_path / "thermal_zone0"
    zone.mkdir()
    (zone / "type").write_text(kind + "\n")
    (zone / "temp").write_text(raw + "\n")
    monkeypatch.setattr(host, "_THERMAL", tmp_path)
    assert host._temperature_c() == celsius
