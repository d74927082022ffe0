{{- /* What every pod has, prepare's too. Indentation 0 is that of the pod's spec. Takes the root with `account`. */ -}}
{{- define "headrace.podBase" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false # a Service headrace-gateway would set HEADRACE_GATEWAY_PORT=tcp://...
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.podSecurity.runAsUser | int64 }}
  runAsGroup: {{ .Values.podSecurity.runAsGroup | int64 }}
  fsGroup: {{ .Values.podSecurity.fsGroup | int64 }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop:
    - ALL
{{- end }}

{{- define "headrace.probes" -}}
startupProbe: # the process answers before its servers do: this is Python's start alone
  httpGet:
    path: /healthz
    port: ops
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe: # asks nothing of any server: a restart would not bring Kafka back
  httpGet:
    path: /healthz
    port: ops
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe: # of the gateway at its own port: there it also says whether Kafka is, so that a rollout stops where it isn't
  httpGet:
    path: /readyz
    port: {{ ternary "http" "ops" (eq . "gateway") }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ ternary 6 2 (eq . "gateway") }}{{ if eq . "gateway" }} # a broker's restart is answered with 503 and Retry-After, not hidden{{ end }}
{{- end }}

{{- /* The pod template of a service. Takes {root, name, service}. */ -}}
{{- define "headrace.podTemplate" -}}
{{- $root := .root }}
{{- $gateway := eq .name "gateway" }}
metadata:
  labels:
    {{- include "headrace.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:
    checksum/settings: {{ include "headrace.settings" $root | sha256sum }}
    {{- with .service.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "headrace.podBase" (merge (dict "account" (include "headrace.accountOf" .)) $root) | nindent 2 }}
  terminationGracePeriodSeconds: {{ add (int $root.Values.drainSeconds) 5 (ternary (int $root.Values.preStopSeconds) 0 $gateway) }}
  {{- with $root.Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "headrace.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.name }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "headrace.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [headrace]
      args: [run, {{ .name }}]
      ports:
        - name: ops
          containerPort: 9100
        {{- if $gateway }}
        - name: http
          containerPort: 8080
        {{- end }}
      envFrom:
        - configMapRef:
            name: {{ include "headrace.fullname" $root }}
      env:
        {{- include "headrace.instance" . | nindent 8 }}
        {{- if $gateway }}
        - name: HEADRACE_GATEWAY_HOST
          value: {{ $root.Values.listenHost | quote }}
        - name: HEADRACE_GATEWAY_PORT
          value: "8080"
        {{- if $root.Values.gateway.sourcesConfigMap }}
        - name: HEADRACE_SOURCES_DIR
          value: /etc/headrace/sources
        {{- end }}
        {{- end }}
        {{- with merge (dict) (.service.settings | default dict) (include "headrace.settingsOf" . | fromYaml) }}
        {{- include "headrace.env" . | nindent 8 }}
        {{- end }}
        {{- with merge (dict) (.service.secretEnv | default dict) (include "headrace.secretsOf" . | fromYaml) $root.Values.secretEnv }}
        {{- include "headrace.secretEnv" (dict "root" $root "secretEnv" .) | nindent 8 }}
        {{- end }}
      {{- include "headrace.probes" .name | nindent 6 }}
      {{- if and $gateway (int $root.Values.preStopSeconds) }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $root.Values.preStopSeconds | int }}
      {{- end }}
      resources:
        {{- toYaml .service.resources | nindent 8 }}
      securityContext:
        {{- include "headrace.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if $root.Values.blobs.existingClaim }}
        - name: blobs
          mountPath: /var/lib/headrace/blobs
        {{- end }}
        {{- if and $gateway $root.Values.gateway.sourcesConfigMap }}
        - name: sources
          mountPath: /etc/headrace/sources
          readOnly: true
        {{- end }}
        {{- if include "headrace.mcp" . }}
        - name: mcp
          mountPath: /etc/headrace/mcp
          readOnly: true
        {{- end }}
        {{- if include "headrace.asksCluster" . }}
        - name: cluster
          mountPath: /var/run/secrets/kubernetes.io/serviceaccount
          readOnly: true
        {{- end }}
        {{- with .service.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    {{- with $root.Values.blobs.existingClaim }}
    - name: blobs
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- if and $gateway $root.Values.gateway.sourcesConfigMap }}
    - name: sources
      configMap:
        name: {{ $root.Values.gateway.sourcesConfigMap }}
    {{- end }}
    {{- if include "headrace.mcp" . }}
    - name: mcp
      {{- if $root.Values.mcp.secret }}
      secret:
        secretName: {{ $root.Values.mcp.secret }}
      {{- else }}
      configMap:
        name: {{ $root.Values.mcp.configMap }}
      {{- end }}
    {{- end }}
    {{- if include "headrace.asksCluster" . }}
    - name: cluster # a token of an hour, in place of the one that is mounted into every container
      projected:
        sources:
          - serviceAccountToken:
              path: token
              expirationSeconds: 3600
          - configMap:
              name: kube-root-ca.crt
              items:
                - key: ca.crt
                  path: ca.crt
          - downwardAPI:
              items:
                - path: namespace
                  fieldRef:
                    fieldPath: metadata.namespace
    {{- end }}
    {{- with .service.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
