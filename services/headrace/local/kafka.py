"""A Kafka cluster in KRaft mode: one broker, or three with replication factor 3 and min ISR 2.

Each broker is its own process, controller included, so that faults can be driven broker by broker (`kill`, `stop`,
`start`, `pause`, `resume`; brokers are numbered from 1). The cluster knows nothing of topics or clients.
"""

import base64
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.local import java
from headrace.local.errors import StartFailed
from headrace.local.kafka_probe import live_brokers
from headrace.local.ports import HOST
from headrace.local.process import Command, tail
from headrace.local.server import Server, Site

_HEAP = "-Xmx512m"
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.levelInBrackets=true",
)

_FAST = {
    # A dead member or transaction is noticed in seconds instead of tens of seconds.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 4000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 500,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
}

_FAST_FAILOVER = {
    # So is a dead broker. One that is alone has nobody to take its place: on a busy machine it would only be fenced in vain.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 5000,
}

_GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",  # ANONYMOUS: brokers and controllers among themselves
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.plaintext.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
}


class KafkaBroker(Server):
    """Broker `node` (1, 2, ...) of a cluster."""

    def __init__(self, site: Site, node: int, cluster: "KafkaCluster") -> None:
        super().__init__(site, f"kafka-{node}" if cluster.size > 1 else "kafka")
        self.label = f"Kafka broker {node}" if cluster.size > 1 else "Kafka"
        self.node = node
        self.port = site.ports.port(self.name)
        self.controller_port = site.ports.port(f"{self.name}-controller")
        self.internal_port = site.ports.port(f"{self.name}-internal") if cluster.proxied else None
        self._cluster = cluster
        self._home = site.data_dir / "kafka" / f"broker-{node}"

    @property
    def listens(self) -> tuple[int, ...]:
        return (self.port, self.controller_port, *([self.internal_port] if self.internal_port else []))

    @property
    def _config(self) -> Path:
        return self._home / "server.properties"

    def prepare(self) -> None:
        """Writes the settings (each time: ports and tuning may change) and formats the storage (once)."""
        self._home.mkdir(parents=True, exist_ok=True)
        settings = {**self._own_settings(), **self._cluster.settings()}
        self._config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if not (self._home / "data" / "meta.properties").exists():
            self._format()

    def _own_settings(self) -> dict[str, object]:
        listeners = {"PLAINTEXT": f"{HOST}:{self.port}", "CONTROLLER": f"{HOST}:{self.controller_port}"}
        advertised = {"PLAINTEXT": self._cluster.advertised(self)}
        if self.internal_port:
            listeners["INTERNAL"] = advertised["INTERNAL"] = f"{HOST}:{self.internal_port}"
        return {
            "node.id": self.node,
            "listeners": _addresses(listeners),
            "advertised.listeners": _addresses(advertised),
            "log.dirs": self._home / "data",
        }

    def _format(self) -> None:
        aot = self._cluster.aot
        argv = [
            *self._java(None if aot and aot.training else aot, quick=True),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            self._cluster.cluster_id,
            "-c",
            self._config,
            *self._cluster.credentials(),
        ]
        log_path = self.process.log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            done = subprocess.run(argv, env=java.ENV, cwd=self._home, stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise StartFailed(self.label, "its storage could not be formatted", log_path, tail(log_path))

    def command(self) -> Command:
        return Command(
            [*self._java(self._cluster.aot, quick=self._cluster.fast), "kafka.Kafka", self._config],
            java.ENV,
            self._home,
        )

    def _java(self, aot: java.Aot | None, *, quick: bool) -> list[str | Path]:
        flags = [*java.BASE_FLAGS, *(java.QUICK_FLAGS if quick else ()), *([aot.flag] if aot else ())]
        classpath = ":".join(map(str, self._cluster.classpath))
        return [java.java(), _HEAP, *flags, *_LOGGING, "-cp", classpath]

    def is_ready(self) -> bool:
        open_to_us = self.internal_port if self._cluster.users else self.port
        return self.node in live_brokers(open_to_us or self.port)


class KafkaCluster:
    """`brokers` (1 or 3) brokers below `<data>/kafka`.

    `advertise` (node -> "host:port") puts something else before a broker, such as a proxy that delays or cuts. It stands between
    clients and brokers only: brokers then talk to each other by a listener of their own.

    `users` (name -> password): clients log in by SCRAM-SHA-512 and may do what ACLs allow; the user `admin` may do everything, and
    so may whoever reaches the brokers' own listener. Passwords are seen in the machine's list of processes: for tests.
    """

    def __init__(
        self,
        site: Site,
        classpath: Sequence[Path],
        *,
        brokers: int = 1,
        fast: bool = False,
        advertise: dict[int, str] | None = None,
        users: dict[str, str] | None = None,
        aot: java.Aot | None = None,
    ) -> None:
        if brokers not in (1, 3):
            raise ValueError(f"a cluster has 1 or 3 brokers, not {brokers}")
        self.size = brokers
        self.fast = fast
        self.aot = aot
        self.classpath = classpath
        self._advertise = advertise or {}
        self.users = users or {}
        self.proxied = bool(advertise or users)
        self._site = site
        self.cluster_id = self._remembered_id()
        self.brokers = [KafkaBroker(site, node, self) for node in range(1, brokers + 1)]

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of each broker, joined by commas."""
        return ",".join(self.advertised(broker) for broker in self.brokers)

    def advertised(self, broker: KafkaBroker) -> str:
        """The address at which clients reach this broker."""
        return self._advertise.get(broker.node, f"{HOST}:{broker.port}")

    def settings(self) -> dict[str, object]:
        """The settings that all brokers share."""
        replicas, min_isr = (3, 2) if self.size == 3 else (1, 1)
        protocol = "SASL_PLAINTEXT" if self.users else "PLAINTEXT"
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "controller.quorum.voters": ",".join(f"{b.node}@{HOST}:{b.controller_port}" for b in self.brokers),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL" if self.proxied else "PLAINTEXT",
            "listener.security.protocol.map": f"PLAINTEXT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": min_isr,
            "group.initial.rebalance.delay.ms": 200,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min_isr,
            "share.coordinator.state.topic.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": min_isr,
        }
        if self.fast:
            settings |= _FAST | (_FAST_FAILOVER if self.size > 1 else {})
        return settings | (_GUARDED if self.users else {})

    def credentials(self) -> list[str]:
        """Arguments that put the users into the storage as it is formatted."""
        scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self.users.items()]
        return [argument for one in scram for argument in ("--add-scram", one)]

    def start_all(self) -> None:
        """Starts all brokers side by side. Raises `PortInUse` or `StartFailed`; none is left running then."""
        try:
            with ThreadPoolExecutor(self.size) as pool:
                list(pool.map(KafkaBroker.launch, self.brokers))
                list(pool.map(KafkaBroker.wait_ready, self.brokers))
        except BaseException:
            self.stop_all()
            raise

    def stop_all(self) -> None:
        """Stops all brokers side by side."""
        with ThreadPoolExecutor(self.size) as pool:
            list(pool.map(KafkaBroker.stop, self.brokers))

    def broker(self, node: int) -> KafkaBroker:
        """The broker with this number (from 1)."""
        return self.brokers[node - 1]

    def start(self, node: int) -> None:
        """Starts one broker and waits until it is back in the cluster."""
        self.broker(node).start()

    def stop(self, node: int) -> None:
        """Shuts one broker down in order."""
        self.broker(node).stop()

    def kill(self, node: int) -> None:
        """SIGKILLs one broker."""
        self.broker(node).kill()

    def pause(self, node: int) -> None:
        """SIGSTOPs one broker."""
        self.broker(node).pause()

    def resume(self, node: int) -> None:
        """SIGCONTs one broker."""
        self.broker(node).resume()

    def _remembered_id(self) -> str:
        path = self._site.data_dir / "kafka" / "cluster-id"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_new_cluster_id())
        return path.read_text()


def _addresses(listeners: dict[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())


def _new_cluster_id() -> str:
    """A random id in Kafka's form, 22 characters of URL-safe base64. Never one that starts with a dash, since StorageTool
    would take it for an option."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not drawn.startswith("-"):
            return drawn
