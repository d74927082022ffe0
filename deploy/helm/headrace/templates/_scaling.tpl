{{- define "headrace.scalingBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds | int }}
  policies: # one at a time: each step is a rebalance
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end }}

{{- /* The row of a service in the flow, written by deploy/render.py from pipeline.py: group and topics. Takes {root, name}. */ -}}
{{- define "headrace.flow" -}}
{{- get (.root.Files.Get "files/flow.yaml" | fromYaml) .name | toYaml }}
{{- end }}

{{- define "headrace.topicPrefix" -}}
{{- get .Values.settings "HEADRACE_TOPIC_PREFIX" }}
{{- end }}
