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
