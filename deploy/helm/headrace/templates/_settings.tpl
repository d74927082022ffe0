{{- /* Environment of every process but for its secrets, as a map. */ -}}
{{- define "headrace.settings" -}}
KAFKA_BOOTSTRAP_SERVERS: {{ .Values.kafka.bootstrapServers | quote }}
SCHEMA_REGISTRY_URL: {{ .Values.schemaRegistry.url | quote }}
HEADRACE_GROUP_PROTOCOL: {{ .Values.kafka.groupProtocol | quote }}
HEADRACE_DRAIN_SECONDS: {{ .Values.drainSeconds | int | quote }}
HEADRACE_OPS_HOST: {{ .Values.listenHost | quote }}
HEADRACE_OPS_PORT: "9100"
{{- if .Values.blobs.existingClaim }}
HEADRACE_BLOB_STORE: directory
HEADRACE_BLOB_DIR: /var/lib/headrace/blobs
{{- end }}
{{- with .Values.settings }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What a service is told beyond that, as a map. Takes {root, name}. */ -}}
{{- define "headrace.settingsOf" -}}
{{- $values := .root.Values }}
{{- if include "headrace.asksCluster" . }}
HEADRACE_KUBE_CLUSTER: in-cluster
HEADRACE_KUBE_NAMESPACE: {{ $values.agentJobs.namespace }}
{{- end }}
{{- if and (include "headrace.mcp" .) (eq .name "tools") }}
HEADRACE_MCP_SERVERS: /etc/headrace/mcp/mcp.yaml
{{- else if include "headrace.mcp" . }}
HEADRACE_MCP_PINS: /etc/headrace/mcp/mcp.yaml.pins.json
{{- end }}
{{- if and $values.patchWorkflow.enabled (eq .name "tools") (not (hasKey $values.settings "HEADRACE_ORCHESTRATOR_API_URL")) }}
HEADRACE_ORCHESTRATOR_API_URL: {{ printf "http://%s-gateway:%d" (include "headrace.fullname" .root) (int $values.gateway.service.port) }}
{{- end }}
{{- end }}

{{- /* Whether a service is given the files of MCP. Takes {root, name}; empty: no. */ -}}
{{- define "headrace.mcp" -}}
{{- if and (or .root.Values.mcp.configMap .root.Values.mcp.secret) (has .name (list "tools" "reasoning" "gateway" "replay")) }}yes{{ end }}
{{- end }}

{{- /* Variables from Secrets that a service needs beyond those that it names. Takes {root, name}. */ -}}
{{- define "headrace.secretsOf" -}}
{{- if and .root.Values.patchWorkflow.enabled (eq .name "tools") }}
HEADRACE_ORCHESTRATOR_API_KEY: {}
{{- end }}
{{- end }}

{{- /* A map of settings as a list of variables. */ -}}
{{- define "headrace.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* Variables from Secrets that exist. Takes {root, secretEnv}. */ -}}
{{- define "headrace.secretEnv" -}}
{{- range $variable, $from := .secretEnv }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name | default $.root.Values.existingSecret }}
      key: {{ $from.key | default $variable }}
      {{- if $from.optional }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}

{{- /* The pod's name is the instance id: no two pods share it, and a container that restarts in its pod keeps it. */ -}}
{{- define "headrace.instance" -}}
- name: HEADRACE_INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
