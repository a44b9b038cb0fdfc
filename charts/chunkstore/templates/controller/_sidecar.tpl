{{/* Who and where a pod is. */}}
{{- define "chunkstore.podEnvironment" -}}
- name: NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end -}}

{{/* A sidecar of the controller: (dict "root" $ "name" … "healthPort" … "arguments" (list …)). Each elects a leader of its own. */}}
{{- define "chunkstore.sidecar" -}}
{{- $sidecar := get .root.Values.sidecars .name -}}
- name: csi-{{ .name }}
  image: {{ printf "%s:%s" $sidecar.image.repository $sidecar.image.tag | quote }}
  imagePullPolicy: {{ $sidecar.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --leader-election
    - --leader-election-namespace=$(NAMESPACE)
    - --timeout=60s
    - --retry-interval-start=1s
    - --retry-interval-max=10s
    - --kube-api-qps=50
    - --kube-api-burst=100
    - --http-endpoint=:{{ .healthPort }}
    - --v=2
    {{- range concat .arguments $sidecar.extraArguments }}
    - {{ . }}
    {{- end }}
  env:
    {{- include "chunkstore.podEnvironment" .root | nindent 4 }}
  ports:
    - {name: {{ .name }}, containerPort: {{ .healthPort }}, protocol: TCP}
  livenessProbe:
    httpGet: {path: /healthz/leader-election, port: {{ .name }}}
    initialDelaySeconds: 10
    periodSeconds: 20
    timeoutSeconds: 10
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "chunkstore.unprivileged" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: csi, mountPath: /csi}
{{- end -}}
