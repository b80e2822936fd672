"""The session with a phone, against a daemon that speaks the real protocol, and against Google's own client."""

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.android.adb.detached import DetachedRunner, RunTimeoutError, RunVanishedError, _start_script
from devices.android.adb.errors import explain, not_found
from devices.android.adb.files import PhoneFiles, free_bytes
from devices.android.adb.keys import adb_key_path, load_signer, own_key_path
from devices.android.adb.session import AdbSession, Patience
from devices.android.adb.transport import Address
from devices.errors import AuthorizationError, ConnectionLostError, RuntimeUnavailableError, StorageFullError
from tests.phone import FakePhone
from tests.phone.time import FakeTime

pytestmark = pytest.mark.usefixtures("shell")  # with the shell and tools of this computer, and with Android's
ROOT = "/data/local/tmp/pnag"
QUICK = Patience(allow_s=0.4, silence_s=0.4, resume_s=30.0, attempts=4)
CALM = Patience(allow_s=10.0, silence_s=10.0, resume_s=30.0, attempts=4)
Open = Callable[..., AdbSession]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not true():
        assert monotonic() < deadline
        sleep(0.01)


@pytest.fixture
def open_session(phone: FakePhone, home: Path, time: FakeTime, said: list[str]) -> Iterator[Open]:
    opened = []

    def open_session(patience: Patience = CALM) -> AdbSession:
        session = AdbSession(
            Address.parse(phone.address),
            load_signer(home),
            announce=said.append,
            patience=patience,
            clock=time.clock,
            sleep=time.sleep,
        )
        opened.append(session)
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session: Open) -> AdbSession:
    return open_session()


class TestCommands:
    def test_output_and_status_come_back(self, session: AdbSession) -> None:
        result = session.run("echo out; echo err >&2; exit 7")
        assert (result.output, result.status) == ("out\nerr\n", 7)

    def test_output_without_a_line_end_keeps_its_status(self, session: AdbSession) -> None:
        result = session.run("printf abc; false")
        assert (result.output, result.status) == ("abc", 1)

    def test_carriage_returns_of_a_terminal_are_dropped(self, phone: FakePhone, session: AdbSession) -> None:
        phone.faults.crlf = True
        assert session.run("printf 'a\\nb\\n'; exit 3") == type(session.run("exit 3"))("a\nb\n", 3)

    def test_a_marker_in_the_output_is_not_taken_for_the_status(self, session: AdbSession) -> None:
        assert session.run("echo; echo __rc_00000000:0; exit 5").status == 5

    def test_a_failed_command_is_an_error_with_what_it_said(self, session: AdbSession) -> None:
        with pytest.raises(RuntimeUnavailableError, match=r"refused 'echo no room; exit 4' with status 4: no room"):
            session.check("echo no room; exit 4")

    def test_long_output_arrives_whole(self, session: AdbSession) -> None:
        text = session.check("i=0; while [ $i -lt 20000 ]; do echo line$i; i=$((i+1)); done")
        assert text.split() == [f"line{i}" for i in range(20000)]


class TestLostConnections:
    def test_a_drop_is_resumed_and_the_command_repeated(self, phone: FakePhone, session: AdbSession) -> None:
        session.connect()
        phone.faults.order("drop", service="echo hello")
        assert session.check("echo hello") == "hello\n"
        assert session.connections == 2

    @pytest.mark.parametrize("messages", range(1, 12))
    def test_a_drop_at_any_message_is_resumed(self, phone: FakePhone, session: AdbSession, messages: int) -> None:
        session.connect()
        phone.faults.order("drop", messages=messages)
        assert [session.check(f"echo {i}") for i in range(4)] == [f"{i}\n" for i in range(4)]
        assert session.connections == 2

    def test_a_phone_that_comes_back_late_is_waited_for(
        self, phone: FakePhone, session: AdbSession, time: FakeTime
    ) -> None:
        session.connect()
        phone.faults.order("vanish", service="back", attempts=5)
        assert session.check("echo back") == "back\n"
        assert len(time.naps) >= 5

    def test_a_phone_that_stays_away_is_an_error_in_time(
        self, phone: FakePhone, session: AdbSession, time: FakeTime
    ) -> None:
        session.connect()
        phone.faults.order("vanish", service="gone", attempts=-1)
        with pytest.raises(ConnectionLostError, match=r"went away and did not come back within 30 s.*to go on"):
            session.check("echo gone")
        assert 30 <= time.now_s < 40

    def test_silence_is_noticed_and_a_new_connection_made(self, phone: FakePhone, open_session: Open) -> None:
        session = open_session(QUICK)
        session.connect()
        phone.faults.order("silence", service="hello")
        assert session.check("echo hello") == "hello\n"
        assert session.connections >= 2

    def test_a_phone_that_is_silent_for_good_is_an_error(self, phone: FakePhone, open_session: Open) -> None:
        session = open_session(Patience(allow_s=0.2, silence_s=0.2, resume_s=30.0, attempts=3))
        session.connect()
        for nth in (1, 2, 3):
            phone.faults.order("silence", service="hello", nth=nth)
        with pytest.raises(ConnectionLostError, match="connects but does not answer"):
            session.check("echo hello")

    def test_a_reboot_is_told_from_a_broken_cable(self, phone: FakePhone, session: AdbSession) -> None:
        session.connect()
        phone.faults.order("drop", service="first")
        session.check("echo first")
        assert session.boots == 0
        phone.faults.order("reboot", service="second")
        session.check("echo second")
        assert session.boots == 1

    def test_nobody_at_the_address_is_said_at_once(self, phone: FakePhone, session: AdbSession, time: FakeTime) -> None:
        phone.stop()
        with pytest.raises(RuntimeUnavailableError, match=r"nothing listens there; run 'adb tcpip"):
            session.connect()
        assert time.now_s == 0


class TestPermission:
    def test_a_trusted_key_asks_nobody(self, phone: FakePhone, open_session: Open, said: list[str]) -> None:
        phone.faults.trust = "known"
        open_session().connect()
        assert len(said) == 1
        said.clear()
        open_session().connect()
        assert said == []

    def test_the_dialog_is_announced(self, phone: FakePhone, session: AdbSession, said: list[str]) -> None:
        phone.faults.trust = "known"
        session.connect()
        assert "tap Allow (waiting 10 s)" in said[0]
        assert b"pnag@" in phone.offered_keys[0]

    def test_a_late_tap_is_waited_for(self, phone: FakePhone, session: AdbSession) -> None:
        phone.faults.trust = "known"
        phone.faults.tap_gate = threading.Event()
        tap = threading.Timer(0.3, phone.faults.tap_gate.set)
        tap.start()
        session.connect()
        tap.join()
        assert session.check("echo in") == "in\n"

    def test_no_tap_is_an_error_that_says_what_to_do(self, phone: FakePhone, open_session: Open) -> None:
        phone.faults.trust, phone.faults.tap = "known", "never"
        with pytest.raises(AuthorizationError, match=r"not given within 0\.4 s; unlock the phone"):
            open_session(QUICK).connect()

    def test_a_refusal_is_an_error_that_says_what_to_do(self, phone: FakePhone, session: AdbSession) -> None:
        phone.faults.trust, phone.faults.tap = "known", "refuse"
        with pytest.raises(AuthorizationError, match="refused"):
            session.connect()

    def test_wireless_debugging_is_recognised(self, phone: FakePhone, session: AdbSession) -> None:
        phone.faults.tls = True
        with pytest.raises(RuntimeUnavailableError, match=r"over TLS.*'adb tcpip 5555'"):
            session.connect()


class TestKeys:
    def test_our_own_key_is_made_once_and_private(self, home: Path) -> None:
        own_key_path(home).unlink()
        first = load_signer(home)
        assert first.path == own_key_path(home)
        assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
        assert load_signer(home).GetPublicKey() == first.GetPublicKey()

    def test_adbs_key_goes_first(self, home: Path) -> None:
        own = load_signer(home)
        theirs = adb_key_path(home)
        theirs.parent.mkdir()
        shutil.copy(own.path, theirs)
        assert load_signer(home).path == theirs

    @pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nxxxx\n-----END PRIVATE KEY-----\n"])
    def test_a_damaged_key_of_adbs_is_passed_over(self, home: Path, content: bytes) -> None:
        adb_key_path(home).parent.mkdir()
        adb_key_path(home).write_bytes(content)
        assert load_signer(home).path == own_key_path(home)

    def test_a_damaged_key_of_our_own_is_made_anew(self, home: Path) -> None:
        load_signer(home).path.write_bytes(b"damaged")
        assert load_signer(home).GetPublicKey() == load_signer(home).GetPublicKey()

    def test_an_unwritable_place_is_named(self, home: Path) -> None:
        shutil.rmtree(home / ".config")
        (home / ".config").write_text("a file in the way")
        with pytest.raises(RuntimeUnavailableError, match=r"cannot keep a key.*adbkey"):
            load_signer(home)


class TestFiles:
    def test_a_file_is_pushed_once(self, session: AdbSession, tmp_path: Path, phone: FakePhone) -> None:
        files, local = PhoneFiles(session), tmp_path / "m.tflite"
        local.write_bytes(os.urandom(300_000))
        assert files.push(local, f"{ROOT}/m.tflite")
        assert not files.push(local, f"{ROOT}/m.tflite")
        assert (phone.files.root / f"{ROOT[1:]}/m.tflite").read_bytes() == local.read_bytes()

    def test_a_changed_file_is_pushed_again(self, session: AdbSession, tmp_path: Path) -> None:
        files, local = PhoneFiles(session), tmp_path / "m"
        local.write_bytes(b"one")
        files.push(local, f"{ROOT}/m")
        local.write_bytes(b"two")
        assert files.push(local, f"{ROOT}/m")
        assert files.holds(f"{ROOT}/m", b"two")

    @pytest.mark.parametrize("at", [1, 100_000, 1_000_000])
    def test_a_drop_in_mid_push_is_resumed_and_leaves_a_whole_file(
        self, session: AdbSession, tmp_path: Path, phone: FakePhone, at: int
    ) -> None:
        local = tmp_path / "m"
        local.write_bytes(os.urandom(2_000_000))
        phone.faults.order("drop", pushed_bytes=at)
        assert PhoneFiles(session).push(local, f"{ROOT}/m")
        assert phone.faults.struck == ["drop"]
        assert (phone.files.root / f"{ROOT[1:]}/m").read_bytes() == local.read_bytes()
        assert [path.name for path in (phone.files.root / ROOT[1:]).iterdir()] == ["m"]

    def test_full_storage_is_said_with_what_is_needed(
        self, session: AdbSession, tmp_path: Path, phone: FakePhone
    ) -> None:
        local = tmp_path / "m"
        local.write_bytes(bytes(5_000_000))
        phone.files.set_free_bytes(1000 * 1024)  # df counts in units of 1024 bytes
        with pytest.raises(StorageFullError, match=r"1\.0 MB of room left in .*/pnag, and 5\.0 MB are needed"):
            PhoneFiles(session).push(local, f"{ROOT}/m")

    def test_storage_that_fills_up_in_mid_push_is_said(
        self, session: AdbSession, tmp_path: Path, phone: FakePhone
    ) -> None:
        local = tmp_path / "m"
        local.write_bytes(bytes(2_000_000))
        phone.faults.order("full", pushed_bytes=1_000_000)
        with pytest.raises(StorageFullError, match="no room left"):
            PhoneFiles(session).push(local, f"{ROOT}/m")

    @pytest.mark.parametrize("tools", [(), ("md5sum",), ("sha1sum",), ("sha256sum",)])
    def test_any_hash_tool_will_do_and_none_too(
        self, session: AdbSession, tmp_path: Path, phone: FakePhone, tools: tuple[str, ...]
    ) -> None:
        for name in {"sha256sum", "sha1sum", "md5sum"} - set(tools):
            script = phone.files.path(f"/system/bin/{name}")
            script.write_text("#!/bin/sh\nexit 127\n")
            script.chmod(0o755)
        files, local = PhoneFiles(session), tmp_path / "m"
        local.write_bytes(b"content")
        assert files.push(local, f"{ROOT}/m")
        assert not files.push(local, f"{ROOT}/m")

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.text(
            alphabet=st.one_of(st.sampled_from(list(" '\"\\$`*?;&|<>(){}[]!#~\n\t,:%")), st.characters(codec="utf-8")),
            min_size=1,
            max_size=20,
        ).filter(lambda name: "/" not in name and "\0" not in name and "\r" not in name and len(name.encode()) < 200)
    )
    def test_any_path_survives(self, session: AdbSession, tmp_path: Path, name: str) -> None:
        local = tmp_path / "local"
        local.write_bytes(b"content")
        remote = f"{ROOT}/x{name}/{name}y"
        assert PhoneFiles(session).push(local, remote) in (True, False)
        assert PhoneFiles(session).holds(remote, b"content")

    def test_free_space_is_read_where_it_can_be(self) -> None:
        toybox = "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/dm-0 100 40 60 40% /data\n"
        assert free_bytes(toybox) == 60 * 1024
        assert free_bytes("Filesystem Size Used Free Blksize\n/data 25.1G 3.5G 21.6G 4096\n") is None


class TestDetached:
    @pytest.fixture
    def runner(self, session: AdbSession) -> DetachedRunner:
        return DetachedRunner(session, ROOT)

    def test_output_status_and_note_come_back(self, runner: DetachedRunner) -> None:
        done = runner.run("echo one; echo two >&2; exit 9", expected_s=0, limit_s=100, note="echo 42")
        assert (done.output.split(), done.status, done.note) == (["one", "two"], 9, "42")

    @pytest.mark.parametrize("messages", range(3, 30, 3))
    def test_a_drop_at_any_message_loses_nothing(
        self, phone: FakePhone, runner: DetachedRunner, session: AdbSession, messages: int
    ) -> None:
        session.connect()
        phone.faults.order("drop", messages=messages)
        done = runner.run(f"echo ran >>{ROOT}/log; sleep 0.1; echo done", expected_s=0, limit_s=1000)
        assert done.output == "done\n"
        assert (phone.files.root / f"{ROOT[1:]}/log").read_text() == "ran\n"  # once

    def test_a_start_that_is_still_under_way_after_a_drop_is_waited_for(
        self, runner: DetachedRunner, session: AdbSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("secrets.token_hex", lambda _: "same")
        home = f"{ROOT}/runs/same"
        slow = f"sleep 0.1; echo made >{home}/out; : >{home}/note; echo 0 >{home}/rc"
        session.check(f"mkdir -p {home}; nohup sh -c '{slow}' >/dev/null 2>&1 </dev/null &")
        assert runner.run("echo twice", expected_s=0, limit_s=1000).output == "made\n"

    def test_of_two_shells_that_start_the_same_run_at_once_one_starts_it(self, phone: FakePhone) -> None:
        root = phone.files.root / ROOT[1:]
        script = _start_script(str(root), f"{root}/runs/same", f"echo ran >>{root}/log", "true")
        shells = [subprocess.Popen(["sh", "-c", script]) for _ in range(20)]
        assert [shell.wait() for shell in shells] == 20 * [0]
        wait_until((root / "runs/same/rc").exists)
        assert (root / "log").read_text() == "ran\n"

    def test_a_killed_run_is_an_error(self, phone: FakePhone, runner: DetachedRunner) -> None:
        with pytest.raises(RunVanishedError, match="ended without a result"):
            runner.run("kill -9 $PPID; kill -9 $$; sleep 30", expected_s=0, limit_s=1000)

    def test_a_reboot_ends_it_and_is_named(self, phone: FakePhone, runner: DetachedRunner) -> None:
        phone.faults.order("reboot", service="__note", nth=2)
        with pytest.raises(RunVanishedError, match="booted anew"):
            runner.run(f"echo {ROOT}/; sleep 30", expected_s=0, limit_s=10_000)
        assert phone.processes() == []

    def test_a_run_that_does_not_end_is_killed(self, phone: FakePhone, runner: DetachedRunner) -> None:
        with pytest.raises(RunTimeoutError, match="longer than 3 s"):
            runner.run(f"echo {ROOT}/; sleep 30", expected_s=0, limit_s=3)
        assert phone.processes() == []

    def test_leftovers_of_a_session_that_died_are_found_and_killed(
        self, phone: FakePhone, runner: DetachedRunner, session: AdbSession
    ) -> None:
        busy = f"{ROOT}/tool -c 'while :; do sleep 1; done'"
        session.run(f"mkdir -p {ROOT}; cp $(command -v sh) {ROOT}/tool; nohup {busy} >/dev/null 2>&1 &")
        wait_until(lambda: len(phone.processes()) == 1)
        assert runner.kill_leftovers() == 1
        assert runner.kill_leftovers() == 0
        assert phone.processes() == []


class TestMessages:
    def test_a_busy_interface_names_the_adb_server(self) -> None:
        error = type("USBErrorBusy", (Exception,), {})()
        assert "adb kill-server" in str(explain(error, Address()))

    def test_missing_permission_names_udev(self) -> None:
        error = type("USBErrorAccess", (Exception,), {})()
        assert "udev" in str(explain(error, Address()))

    def test_no_phone_on_usb_names_the_serial(self) -> None:
        assert "with the serial abc" in str(not_found(Exception("none"), Address(serial="abc")))

    def test_the_adb_servers_port_is_recognised(self) -> None:
        assert "an adb server listens" in str(not_found(OSError(), Address.parse("localhost:5037")))

    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [("1.2.3.4", "1.2.3.4", 5555), ("phone:7", "phone", 7), ("[::1]:9", "::1", 9), ("fe80::1", "fe80::1", 5555)],
    )
    def test_addresses_are_read(self, text: str, host: str, port: int) -> None:
        assert Address.parse(text) == Address(host, port)

    @pytest.mark.parametrize("text", ["", ":5555", "host:", "host:x", "host:0", "host:70000"])
    def test_other_addresses_are_refused(self, text: str) -> None:
        with pytest.raises(RuntimeUnavailableError, match="not an address"):
            Address.parse(text)


@pytest.mark.skipif(shutil.which("adb") is None, reason="Google's adb client is not installed")
class TestGooglesClient:
    """The fake phone against a second, independent client: what both understand is likely what a phone says."""

    @pytest.fixture(scope="class")
    def client_home(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("adb")

    @pytest.fixture(scope="class")
    def adb(self, client_home: Path) -> Iterator[Callable[..., str]]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(client_home),
            "ANDROID_ADB_SERVER_PORT": str(15037 + os.getpid() % 20000),
            "ADB_MDNS_AUTO_CONNECT": "0",
        }

        def adb(*words: str) -> str:
            done = subprocess.run(
                ["adb", *words], env=environment, capture_output=True, text=True, timeout=30, check=False
            )
            return f"{done.stdout}{done.stderr}[{done.returncode}]"

        yield adb
        adb("kill-server")

    @pytest.fixture
    def known(self, phone: FakePhone, adb: Callable[..., str]) -> Iterator[Callable[..., str]]:
        phone.faults.trust = "known"
        # `connect` may answer before the phone has; waiting for the device, which fails after a while, tells.
        adb("connect", phone.address)
        assert adb("-s", phone.address, "wait-for-device").endswith("[0]")
        yield lambda *words: adb("-s", phone.address, *words)
        adb("disconnect", phone.address)

    def test_it_connects_with_its_key_and_gets_exit_codes(self, known: Callable[..., str]) -> None:
        assert known("shell", "getprop ro.board.platform; exit 5") == "msm8996\n[5]"

    def test_it_pushes_and_pulls_what_we_find_equal(
        self, known: Callable[..., str], session: AdbSession, tmp_path: Path
    ) -> None:
        local = tmp_path / "m"
        local.write_bytes(os.urandom(700_000))
        assert known("push", str(local), "/data/local/tmp/m").endswith("[0]")
        assert PhoneFiles(session).holds("/data/local/tmp/m", local.read_bytes())
        assert known("pull", "/data/local/tmp/m", str(tmp_path / "back")).endswith("[0]")
        assert (tmp_path / "back").read_bytes() == local.read_bytes()

    def test_its_key_lets_us_in_without_asking(
        self, known: Callable[..., str], client_home: Path, phone: FakePhone, said: list[str]
    ) -> None:
        known("shell", "true")
        signer = load_signer(client_home)
        assert signer.path == adb_key_path(client_home)
        session = AdbSession(Address.parse(phone.address), signer, announce=said.append, patience=CALM)
        session.connect()
        session.close()
        assert said == []
