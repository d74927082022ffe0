"""The custom resources that the chart writes, as strict models: a field that is not here is an error.

Written by hand from the documents of KEDA 2.x (``keda.sh/v1alpha1``) and of the Prometheus operator
(``monitoring.coreos.com/v1``), and only as far as the chart goes; the operators' own schemas are not part of this repository.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Whole = Annotated[str, StringConstraints(pattern=r"^[0-9]+$")]
Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]+(ms|s|m)$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: Name
    namespace: Name | None = None
    labels: dict[str, str]


class Selector(Strict):
    matchLabels: dict[str, str]


class Endpoint(Strict):
    port: str
    path: Literal["/metrics"]
    interval: Duration
    honorLabels: Literal[True]


class ServiceMonitorSpec(Strict):
    selector: Selector
    endpoints: Annotated[list[Endpoint], Field(min_length=1)]


class ServiceMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: ServiceMonitorSpec


class PodMonitorSpec(Strict):
    selector: Selector
    podMetricsEndpoints: Annotated[list[Endpoint], Field(min_length=1)]


class PodMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


class Target(Strict):
    apiVersion: Literal["apps/v1"]
    kind: Literal["Deployment", "StatefulSet"]
    name: Name


class Policy(Strict):
    type: Literal["Pods", "Percent"]
    value: int = Field(ge=1)
    periodSeconds: int = Field(ge=1, le=1800)


class ScaleDown(Strict):
    stabilizationWindowSeconds: int = Field(ge=0, le=3600)
    policies: Annotated[list[Policy], Field(min_length=1)]


class Behavior(Strict):
    scaleDown: ScaleDown


class HpaConfig(Strict):
    behavior: Behavior


class Advanced(Strict):
    horizontalPodAutoscalerConfig: HpaConfig


class Reference(Strict):
    name: Name


class CpuMetadata(Strict):
    value: Whole


class PrometheusMetadata(Strict):
    serverAddress: Annotated[str, StringConstraints(pattern=r"^https?://")]
    query: Annotated[str, StringConstraints(min_length=1)]
    threshold: Whole


class KafkaMetadata(Strict):
    bootstrapServers: str
    consumerGroup: str
    topic: str
    lagThreshold: Whole
    tls: Literal["enable", "disable"] | None = None
    sasl: Literal["plaintext", "scram_sha256", "scram_sha512", "oauthbearer", "gssapi", "none"] | None = None
    version: str | None = None


class CpuTrigger(Strict):
    type: Literal["cpu"]
    metricType: Literal["Utilization"]
    metadata: CpuMetadata


class PrometheusTrigger(Strict):
    type: Literal["prometheus"]
    metricType: Literal["AverageValue"]
    metadata: PrometheusMetadata
    authenticationRef: Reference | None = None


class KafkaTrigger(Strict):
    type: Literal["kafka"]
    metricType: Literal["AverageValue"]
    metadata: KafkaMetadata
    authenticationRef: Reference | None = None


Trigger = Annotated[CpuTrigger | PrometheusTrigger | KafkaTrigger, Field(discriminator="type")]


class ScaledObjectSpec(Strict):
    scaleTargetRef: Target
    pollingInterval: int = Field(ge=1)
    minReplicaCount: int = Field(ge=1)  # by a metric of the pods themselves nothing comes back from 0
    maxReplicaCount: int = Field(ge=1)
    advanced: Advanced
    triggers: Annotated[list[Trigger], Field(min_length=1)]

    @model_validator(mode="after")
    def _ordered(self) -> ScaledObjectSpec:
        if self.minReplicaCount > self.maxReplicaCount:
            raise ValueError("minReplicaCount is above maxReplicaCount")
        return self


class ScaledObject(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


MODELS: dict[str, type[Strict]] = {model.__name__: model for model in (ServiceMonitor, PodMonitor, ScaledObject)}
