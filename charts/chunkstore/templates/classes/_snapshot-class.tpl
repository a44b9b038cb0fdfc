{{/* (dict "root" $ "class" … "hook" "post-install" "policy" …); without a hook, an ordinary object of the release. */}}
{{- define "chunkstore.snapshotClass" }}
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata:
  name: {{ .class.name }}
  labels:
    {{- include "chunkstore.labels" (dict "root" .root "component" "classes") | nindent 4 }}
    {{- with .class.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .class.default .class.annotations .hook }}
  annotations:
    {{- if .class.default }}
    snapshot.storage.kubernetes.io/is-default-class: 'true'
    {{- end }}
    {{- if .hook }}
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-delete-policy: {{ .policy }}
    # So that it can be an ordinary object of the release later.
    meta.helm.sh/release-name: {{ .root.Release.Name }}
    meta.helm.sh/release-namespace: {{ .root.Release.Namespace }}
    {{- end }}
    {{- with .class.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
driver: {{ include "chunkstore.driver" .root }}
deletionPolicy: {{ default "Delete" .class.deletionPolicy }}
{{- with .class.parameters }}
parameters:
  {{- range $key, $value := . }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}
