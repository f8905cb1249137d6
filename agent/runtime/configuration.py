"""Choose the configuration that runs: the site file's, or, while that is wrong, the one that was applied last."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.core.alarms import GatewayCondition
from agent.core.state import was_kept
from agent.errors import BocageError, ConfigError, Problem
from agent.lib.hints import ours
from agent.model import Severity
from agent.runtime.applied import NEWEST, SITE, Applied, find, was_used
from agent.runtime.folders import enter, is_installed_by_default, state_folder
from agent.settings import Found, Settings, SettingsReader
from drivers.api import DeviceSpec

__all__ = ["Configuration"]

log = logging.getLogger("bocage.configuration")


class Configuration:
    """A site file, what runs of it, and what is wrong with it.

    `choose` at the start, `reread` when the file may have changed, `keep` for what is applied from then on.
    """

    def __init__(
        self, path: Path, state: Path, settings: Settings, before: Applied | None, found: Found | None
    ) -> None:
        self.path, self.state, self.settings = path, state, _with_kept_codecs(settings, path, state / NEWEST)
        self._site = settings.site  # another id in the file takes effect at the next start
        self.replaced: Settings | None = None
        """The settings applied before this start, where others run from now on: their outputs may have left."""
        self.wrong: Problem | None = None
        """The error of the site file, which therefore does not run."""
        self.outdated: Problem | None = None
        """The rule of this program that the running configuration breaks: an older program applied it."""
        self.is_bare = False
        """Whether nothing runs, for want of anything that can be read."""
        self._unkept = found
        self._kept = before
        self._secret_references = found.secret_references if found else ()

    @classmethod
    def choose(cls, path: Path, reader: SettingsReader, given: str | None) -> Configuration:
        """Choose the configuration to start with. ConfigError with all errors where none was ever applied.

        Where a file was applied before and cannot be read any more, the settings are bare: the outputs that the agent
        owns go to their safe state until a valid file is applied.

        `reader` reads the file at `path`; `given` is the state folder of the command line.
        """
        file = reader.found()
        known = find(path, given) if file.first is not None else None  # not even the site's id need be right
        state = known[0] if known else state_folder(given, file.settings.site if file.settings else "")
        enter(state)
        before = known[1] if known else Applied.load(state)
        if before is not None and is_installed_by_default(state, given):
            _refuse_another(before, path, file)
        wrong = _judge(file, before)
        if wrong is None and file.settings is not None:
            made = cls(path, state, file.settings, before, file)
            if before is not None and not before.is_of(file.files):
                made.replaced = before.reader().found().settings
            return made
        try:
            return cls._adopted(path, state, file) if before is None else cls._kept_on(path, state, file, wrong)
        except ConfigError as refusal:
            used = state if before is not None else was_used(path, given)
            if used is None or refusal.first is None:
                raise
            return cls._bare(path, used, refusal.first)

    @classmethod
    def _kept_on(cls, path: Path, state: Path, file: Found, wrong: Problem | None) -> Configuration:
        """The file is wrong: go on with what was applied, also where that breaks rules of a newer program."""
        for before in Applied.generations(state):
            kept = before.reader().found()
            if kept.settings is None:
                log.error('kept configuration not understood folder=%s problem="%s"', before.folder, kept.first)
                continue
            settings = _with_kept_codecs(replace(kept.settings, site=before.site), path, before.folder)
            made = cls(path, state, settings, before, None)
            made._secret_references = kept.secret_references
            made.outdated = kept.first
            made.wrong = None if before.is_of(file.files) else wrong
            for problem in filter(None, (made.wrong, made.outdated)):
                log.error('configuration refused problem="%s" next=the one that was applied before goes on', problem)
            return made
        raise _refusal(file, wrong)

    @classmethod
    def _bare(cls, path: Path, state: Path, wrong: Problem) -> Configuration:
        """The applied configuration cannot be read any more, and neither can the file."""
        enter(state)
        made = cls(path, state, Settings.bare(), None, None)
        made.wrong, made.is_bare = wrong, True
        log.critical('no configuration is left problem="%s" next=outputs go to their safe state, a file is waited for',
                     wrong)  # fmt: skip
        return made

    @classmethod
    def _adopted(cls, path: Path, state: Path, file: Found) -> Configuration:
        """Run a file that only breaks rules, where none was kept: an older program with fewer rules may have run it."""
        if file.settings is None or not file.breaks_rules_only or not was_kept(state):
            raise _refusal(file)
        made = cls(path, state, file.settings, None, file)
        made.outdated = file.first
        log.error('configuration outdated problem="%s" next=it ran before, so it goes on', made.outdated)
        return made

    def reread(self) -> Settings:
        """The settings of the file as it is now. ConfigError if it is wrong: then `wrong` says why, until it is not.

        A file that is the one that runs, and breaks a rule of this program, is refused too, and stays `outdated`.
        """
        file = SettingsReader(self.path).found()
        wrong = _judge(file, self._kept)
        self.wrong = None if self._kept is not None and self._kept.is_of(file.files) else wrong
        if wrong is not None or file.settings is None:
            raise _refusal(file, wrong)
        if self.is_bare:
            self._site, self.is_bare = file.settings.site, False
        self.outdated = None
        self.settings = _with_kept_codecs(file.settings, self.path, self.state / NEWEST)
        self._unkept, self._secret_references = file, file.secret_references
        return self.settings

    def is_read_from(self, path: Path) -> bool:
        """Whether a path leads to the site file of this agent."""
        return os.path.realpath(path) == os.path.realpath(self.path)  # resolve() raises where links go in a circle

    def keep(self) -> None:
        """Put what runs into the state folder, if it is not there. OSError if the disk refuses: to be tried again."""
        if self._unkept is not None:
            self._kept = Applied.keep(self.state, self.path, self._site, self._unkept.files)
            self._unkept = None

    def unusable(self) -> list[Problem]:
        """Read the secrets, certificates and keys of the file; return a problem for each that cannot be used now."""
        return [problem for reference in self._secret_references if (problem := reference.problem()) is not None]

    # -- what is told ------------------------------------------------------------------------------------------

    def conditions(self) -> Iterator[GatewayCondition]:
        """The alarms `config_invalid` and `config_outdated`."""
        if self.wrong is not None:
            yield GatewayCondition("config_invalid", "gateway", Severity.MAJOR, self.wrong.place)
        if self.outdated is not None:
            yield GatewayCondition("config_outdated", "gateway", Severity.MINOR, self.outdated.place)

    def problem(self) -> dict[str, Any] | None:
        """For the topic `status`: the graver of the two, with its code."""
        for found in self.conditions():
            return {"code": found.code, **found.detail}
        return None

    def status(self) -> dict[str, Any]:
        """For the live view: which file runs, and what is wrong with the one that is there."""
        return {
            "file": str(self.path.absolute()),
            "hash": self.settings.config_hash,
            "invalid": self.wrong.place if self.wrong else None,
            "outdated": self.outdated.place if self.outdated else None,
        }

    def line(self) -> str:
        """The error for the service manager's line; "" if there is none."""
        if self.wrong is not None and self.is_bare:
            return f"configuration refused, nothing runs, outputs go to their safe state: {_said(self.wrong)}"
        if self.wrong is not None:
            return f"configuration refused, the one applied before runs: {_said(self.wrong)}"
        if self.outdated is not None:
            return f"configuration outdated: {_said(self.outdated)}"
        return ""


def _refuse_another(before: Applied, path: Path, file: Found) -> None:
    """BocageError for a demo, say, on a village's gateway: its readings and outputs would be taken for the village's.

    A file that is wrong is none of which the village's is the last that was good: ConfigError.
    """
    site = file.settings.site if file.settings is not None else None
    if not before.is_another(path, site):
        return
    if file.first is not None:
        raise _refusal(file)
    command = ours("run", path, "--state-dir", path.parent / "state")
    raise BocageError(before.whose(path, str(site), command))


def _judge(file: Found, kept: Applied | None) -> Problem | None:
    """The problem of a site file; also a codec that is gone, which it had when it was applied, and a file of which
    only the beginning is there."""
    if file.first is None and kept is not None:
        if (name := kept.cut(file.files)) is not None:
            return _half(name, file.files[name], kept)
        for name in sorted(file.absent & kept.files.keys()):
            where = str(kept.home.parent / name)
            return Problem(where, 1, 1, "error", "this codec is missing; it was there when it was applied last")
    return file.first


def _with_kept_codecs(settings: Settings, home: Path, folder: Path) -> Settings:
    """Point each maker's codec to its copy in `folder`, the one that runs.

    An edited codec is not used before it was checked and applied.
    """

    beside, folder = home.absolute().parent, folder.absolute()

    def dressed(device: DeviceSpec) -> DeviceSpec:
        profile = device.profile or {}
        for key, section in profile.items():
            codec = Path(section.get("codec") or "") if key not in ("name", "points") else Path()
            for origin in (folder, beside):
                if codec.is_relative_to(origin):
                    name = codec.relative_to(origin)
                    section = {**section, "codec": str(beside / name), "codec_kept": str(folder / name)}
                    return replace(device, profile={**profile, key: section})
        return device

    buses = {name: replace(bus, devices=tuple(map(dressed, bus.devices))) for name, bus in settings.buses.items()}
    return replace(settings, buses=buses)


def _half(name: str, content: bytes, kept: Applied) -> Problem:
    lines = content.decode(errors="replace").split("\n")
    place = str(kept.home if name == SITE else kept.home.parent / name)
    said = "the file ends here, within what was applied; save it again, with a line break at its end"
    return Problem(place, len(lines), len(lines[-1]) + 1, "error", said)


def _said(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}:{problem.column}: {problem.message}"


def _refusal(file: Found, wrong: Problem | None = None) -> ConfigError:
    lines = [str(problem) for problem in file.problems]
    if wrong is not None and str(wrong) not in lines:
        lines.insert(0, str(wrong))
    return ConfigError(lines, wrong or file.first)
