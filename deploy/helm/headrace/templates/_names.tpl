{{- define "headrace.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 38 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters: with the longest service, a StatefulSet's revision and a pod's ordinal it stays below 63. */ -}}
{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 38 | trimSuffix "-" }}
{{- else if contains (include "headrace.name" .) .Release.Name }}
{{- .Release.Name | trunc 38 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "headrace.name" .) | trunc 38 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ include "headrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "headrace.labels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: headrace
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "headrace.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "headrace.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- /* Whether a service speaks to the API server. Takes {root, name}; empty: no. */ -}}
{{- define "headrace.asksCluster" -}}
{{- if and .root.Values.agentJobs.enabled (has .name (list "tools" "orchestration")) }}yes{{ end }}
{{- end }}

{{- /* The service account of a service. Takes {root, name}. */ -}}
{{- define "headrace.accountOf" -}}
{{- if and (include "headrace.asksCluster" .) .root.Values.serviceAccount.create }}
{{- printf "%s-%s" (include "headrace.fullname" .root) .name }}
{{- else }}
{{- include "headrace.serviceAccount" .root }}
{{- end }}
{{- end }}

{{- define "headrace.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- /* Whether a service is scaled by something else than `replicas`. Takes {root, service}; empty: no. */ -}}
{{- define "headrace.scaled" -}}
{{- if and (ne .root.Values.autoscaling.mode "none") .service.autoscaling.enabled }}yes{{ end }}
{{- end }}
