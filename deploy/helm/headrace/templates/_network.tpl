{{- /* One egress rule. Takes {to, ports, dns}; no peers: anywhere. */ -}}
{{- define "headrace.egress" -}}
- ports:
    {{- range .ports }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
    {{- if .dns }}
    - port: 53
      protocol: UDP
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* The pods of a service, as a peer. Takes {root, name}. */ -}}
{{- define "headrace.peer" -}}
podSelector:
  matchLabels:
    {{- include "headrace.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "headrace.kafkaPorts" -}}
{{- range splitList "," .Values.kafka.bootstrapServers }}
- {{ regexFind "[0-9]+$" (trim .) | required "kafka.bootstrapServers: each is host:port" }}
{{- end }}
{{- range .Values.networkPolicy.egress.kafka.extraPorts }}
- {{ int . }}
{{- end }}
{{- end }}

{{- define "headrace.registryPort" -}}
{{- $url := urlParse .Values.schemaRegistry.url }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{- /* What every process may reach: names, Kafka, the registry, Postgres, and the collector of traces if there is one. */ -}}
{{- define "headrace.egressOfAll" -}}
{{- $egress := .Values.networkPolicy.egress }}
{{ include "headrace.egress" (dict "ports" (list 53) "dns" true "to" $egress.dns.to) }}
{{ include "headrace.egress" (dict "ports" (include "headrace.kafkaPorts" . | fromYamlArray | uniq) "to" $egress.kafka.to) }}
{{ include "headrace.egress" (dict "ports" (list (include "headrace.registryPort" .)) "to" $egress.schemaRegistry.to) }}
{{ include "headrace.egress" (dict "ports" (list $egress.database.port) "to" $egress.database.to) }}
{{- if hasKey .Values.settings "OTEL_EXPORTER_OTLP_ENDPOINT" }}
{{ include "headrace.egress" (dict "ports" (list $egress.telemetry.port) "to" $egress.telemetry.to) }}
{{- end }}
{{- end }}
