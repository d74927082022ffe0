"""The schema registry: Apicurio, spoken to by its Confluent-compatible API at `/apis/ccompat/v7`.

Its schemas live in an H2 file below `<data>/registry`, not in the stack's PostgreSQL: so it needs no other part (it starts
beside them and works where `DATABASE_URL` names a database that is not ours to fill), takes ~20 connections less, and
starts as fast. `WRITE_DELAY=0` makes each registration durable before it is answered.
"""

import http.client
from pathlib import Path

from headrace.local import java
from headrace.local.ports import HOST
from headrace.local.process import Command
from headrace.local.server import Server, Site

_HEAP = "-Xmx256m"
_API = "/apis/ccompat/v7"


class SchemaRegistry(Server):
    """The registry, run from its unpacked distribution `home`."""

    label = "the schema registry"

    def __init__(self, site: Site, home: Path, *, aot: java.Aot | None = None) -> None:
        super().__init__(site, "registry")
        self._aot = aot
        self._home = home
        self._data = site.data_dir / "registry"
        self.port = site.ports.port("registry")
        self._management_port = site.ports.port("registry-management")

    @property
    def url(self) -> str:
        """The base URL for clients that speak Confluent's API."""
        return f"http://{HOST}:{self.port}{_API}"

    @property
    def listens(self) -> tuple[int, ...]:
        return (self.port, self._management_port)

    def prepare(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        env = {
            **java.ENV,
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_MANAGEMENT_PORT": str(self._management_port),
            "QUARKUS_BANNER_ENABLED": "false",
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self._data}/schemas;WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE",
            "APICURIO_DATASOURCE_USERNAME": "headrace",
            "APICURIO_DATASOURCE_PASSWORD": "headrace",
        }
        aot = [self._aot.flag] if self._aot else []
        flags = [_HEAP, *java.BASE_FLAGS, *java.QUICK_FLAGS, *aot, f"-Djava.io.tmpdir={self._data}"]
        return Command([java.java(), *flags, "-jar", self._home / "quarkus-run.jar"], env, self._data)

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", f"{_API}/subjects")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
