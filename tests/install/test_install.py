"""`make install` and `make uninstall` in a scratch root."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}


def make(target: str, root: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", CLONE, target, f"DESTDIR={root}", *arguments],
        env={**os.environ, "MAKEFLAGS": "", **environ}, capture_output=True, text=True, timeout=400, check=False,
        umask=0o077,  # that of a careful administrator
    )  # fmt: skip


def bocage(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [root / "opt/bocage/bin/bocage", *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Bocage in it, as a first installation leaves it; the tests below take it through its life."""
    root = tmp_path_factory.mktemp("root")
    done = make("install", root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_everything_is_in_place(root: Path) -> None:
    units = ("systemd/system/bocage.service", "systemd/system/bocage-upgrade.service")
    for name in (*units, "sysusers.d/bocage.conf", "tmpfiles.d/bocage.conf", "bocage/upgrade-guard"):
        assert (root / "usr/lib" / name).is_file(), name
    assert (root / "usr/local/bin/bocage").readlink() == Path("/opt/bocage/bin/bocage")
    assert bocage(root, "--version").returncode == 0


def test_the_agents_user_gets_at_it_whatever_the_umask_was(root: Path) -> None:
    folders = [folder for folder in root.rglob("*") if folder.is_dir() and not folder.is_symlink()]
    assert [folder for folder in folders if folder.stat().st_mode & 0o055 != 0o055] == []


def test_it_stays_with_the_python_that_it_was_made_with(root: Path) -> None:
    """When python3 becomes another version, what was installed for the one before would not be found."""
    link = root / "opt/bocage/bin/python"
    while link.is_relative_to(root):
        link = link.parent / link.readlink()
    assert re.fullmatch(r"/usr/bin/python3\.\d+", str(link))


def test_when_its_python_is_gone_every_command_says_what_to_do(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bocage").write_text((root / "opt/bocage/bin/bocage").read_text())
    (tmp_path / "bocage").chmod(0o755)
    (tmp_path / "python").symlink_to("/usr/bin/python3.2")
    done = subprocess.run([tmp_path / "bocage", "watch"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "sudo make install again" in done.stderr) == (1, True), done.stderr


def test_what_is_installed_is_what_the_lock_says(root: Path) -> None:
    """Where there is one for this Python and machine; another hash would have ended it."""
    version = "".join(map(str, sys.version_info[:2]))
    lock = CLONE / f"requirements/py{version}-{platform.machine()}.txt"
    if not lock.exists():
        pytest.skip(f"no {lock.name}")
    found = subprocess.run(
        [root / "opt/bocage/bin/python", "-m", "pip", "freeze", "--all", "--exclude=bocage", "--exclude=pip"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    names = re.compile(r"^([\w.-]+)==(\S+)", re.M)
    wanted = {(name.lower().replace("_", "-").replace(".", "-"), of) for name, of in names.findall(lock.read_text())}
    assert {(name.lower().replace("_", "-").replace(".", "-"), of) for name, of in names.findall(found)} == wanted


def test_without_a_lock_that_is_said_or_refused(tmp_path: Path) -> None:
    """A machine that no lock is for, by its Python's word."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *platform*) echo py311-armv7l ;; *) exit 1 ;; esac\n')
    python.chmod(0o755)
    strict = make("install", tmp_path / "root", f"PYTHON={python}", "LOCKED=1")
    assert strict.returncode != 0
    assert "there is no" in strict.stderr
    assert "py311-armv7l.txt" in strict.stderr
    free = make("install", tmp_path / "root", f"PYTHON={python}")
    assert "no lock for this Python and machine (py311-armv7l)" in free.stderr


def test_a_file_with_another_hash_ends_it(tmp_path: Path) -> None:
    wrong = tmp_path / "lock.txt"
    wrong.write_text(f"tinydb==4.9.0 --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [CLONE / "scripts/venv", sys.executable, tmp_path / "venv", "--require-hashes", "--only-binary", ":all:",
         "--no-deps", "-r", wrong], capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_example_site_checks(root: Path) -> None:
    answer = bocage(root, "check", str(root / "etc/bocage/site.yaml"))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_what_the_packages_read_comes_along_and_a_collector_starts(root: Path, tmp_path: Path) -> None:
    (site,) = (root / "opt/bocage/lib").glob("python3*/site-packages")
    data = [
        Path(folder, name).relative_to(CLONE)
        for package in ("agent", "drivers")
        for folder, _, names in os.walk(CLONE / package, followlinks=True)
        for name in names
        if name.endswith((".json", ".yaml", ".js", ".typed"))
    ]
    assert len(data) > 20 and [path for path in data if not (site / path).is_file()] == []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"mqtt://127.0.0.1:{closed.getsockname()[1]}"
    answer = bocage(root, "collect", url, "--sqlite", str(tmp_path / "region.db"))
    assert (answer.returncode, "Connection refused" in answer.stderr) == (1, True), answer.stderr


@pytest.mark.parametrize("name", ["mon village", "d" * 120], ids=["spaces", "long"])
def test_a_destination_is_any_folder(tmp_path: Path, name: str) -> None:
    """pip begins its scripts in another way when the path is long or has spaces in it. Named from the clone's side."""
    done = make("install", Path(os.path.relpath(tmp_path / name, CLONE)))
    assert done.returncode == 0, done.stderr
    (tmp_path / name).rename(tmp_path / "root")
    assert bocage(tmp_path / "root", "--version").returncode == 0


def test_the_environment_can_be_moved(root: Path) -> None:
    """It is built in one place and runs in another: no script may name the scratch root."""
    for script in (root / "opt/bocage/bin").iterdir():
        if script.is_file() and not script.is_symlink() and not script.name.lower().startswith("activate"):
            assert str(root) not in script.read_text(), script


def test_the_clone_is_left_as_it_was(root: Path) -> None:
    assert not (CLONE / "build").exists()


def test_an_upgrade_touches_neither_state_nor_configuration(root: Path) -> None:
    kept = {"var/lib/bocage/outbox.db": "readings", "etc/bocage/site.yaml": "# mine", "etc/bocage/secrets/mqtt": "s"}
    for name, text in kept.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    old = (root / "opt/bocage").stat().st_ino
    # Its dependencies were tried above; the swap is what is tried here.
    done = make("install", root, "LOCKED=0", PIP_NO_DEPS="1")
    assert done.returncode == 0, done.stderr
    assert (root / "opt/bocage").stat().st_ino != old
    assert {name: (root / name).read_text() for name in kept} == kept
    assert [path.name for path in (root / "opt").iterdir()] == ["bocage"]


def test_the_systems_own_gpio_library_is_linked_and_nothing_else_of_its(root: Path, tmp_path: Path) -> None:
    (tmp_path / "_lgpio_of_debian.so").write_text("")
    (tmp_path / "other.py").write_text("")
    pipe = 'open(".lgd-nfy0", "w").close()'  # as the real one does when it is imported
    (CLONE / ".lgd-nfy0").unlink(missing_ok=True)
    for library, end in ((f"{pipe}\ngpiochip_open = None\n", 0), ("import built_for_another_python\n", 1)):
        (tmp_path / "lgpio.py").write_text(library)
        done = make("install", root, "LOCKED=0", PIP_NO_DEPS="1", DIST_PACKAGES=str(tmp_path))
        assert done.returncode == 0, done.stderr
        for module, found in (("lgpio", end), ("other", 1)):
            python = [root / "opt/bocage/bin/python", "-c", f"import {module}"]
            assert subprocess.run(python, cwd="/", capture_output=True, timeout=60).returncode == found, module
        assert len(list((root / "opt/bocage/lib").glob("python3*/site-packages/*lgpio*"))) == 2 * (1 - end)
    assert not (CLONE / ".lgd-nfy0").exists()


def test_a_pi_without_the_gpio_library_is_told_so_in_the_last_line(tmp_path: Path) -> None:
    """A machine whose Python says that it is a Pi's, and has no wheel for it."""
    python = tmp_path / "python3"
    script = f'case "$2" in *platform*) echo py399-aarch64 ;; *) exec {sys.executable} "$@" ;; esac'
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    (tmp_path / "root/etc/bocage").mkdir(parents=True)
    (tmp_path / "root/etc/bocage/site.yaml").write_text("# there is one")
    done = make("install", tmp_path / "root", f"PYTHON={python}", PIP_NO_DEPS="1", DIST_PACKAGES=str(tmp_path))
    assert done.returncode == 0, done.stderr
    *_, last = done.stderr.splitlines()
    said = "GPIO pins do not work yet: sudo apt install python3-lgpio, then sudo make install"
    assert last.startswith(said), done.stderr
    assert len(done.stderr.splitlines()) < 5


def test_a_failed_upgrade_leaves_what_ran(root: Path) -> None:
    old = (root / "opt/bocage").stat().st_ino
    done = make("install", root, **NO_INDEX)
    assert done.returncode != 0
    assert (root / "opt/bocage").stat().st_ino == old
    assert [path.name for path in (root / "opt").iterdir()] == ["bocage"]


def test_uninstall_undoes_it_and_keeps_what_is_the_communes(root: Path) -> None:
    done = make("uninstall", root)
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert left == {"var/lib/bocage/outbox.db", "etc/bocage/site.yaml", "etc/bocage/secrets/mqtt"}


def test_purge_removes_that_too(root: Path) -> None:
    assert make("uninstall", root, "PURGE=1").returncode == 0
    assert not [path for path in root.rglob("*") if not path.is_dir()]


def test_another_prefix_is_in_the_unit(tmp_path: Path) -> None:
    (tmp_path / "etc/bocage").mkdir(parents=True)
    (tmp_path / "etc/bocage/site.yaml").touch()  # nothing to write then, so the program need not run
    done = make("install", tmp_path, "PREFIX=/srv/bocage", "LOCKED=0", PIP_NO_DEPS="1")
    assert done.returncode == 0, done.stderr
    unit = (tmp_path / "usr/lib/systemd/system/bocage.service").read_text()
    assert "ExecStart=/srv/bocage/bin/bocage run" in unit
    assert "/opt/bocage" not in unit


def test_a_folder_that_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "opt/bocage").mkdir(parents=True)
    (tmp_path / "opt/bocage/photos").touch()
    assert make("uninstall", tmp_path).returncode != 0
    assert (tmp_path / "opt/bocage/photos").exists()


def test_install_refuses_to_replace_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "opt/bocage").mkdir(parents=True)
    (tmp_path / "opt/bocage/photos").touch()
    assert make("install", tmp_path, "LOCKED=0", PIP_NO_DEPS="1").returncode != 0
    assert (tmp_path / "opt/bocage/photos").exists()
