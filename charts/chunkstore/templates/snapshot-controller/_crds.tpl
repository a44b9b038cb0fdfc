{{- define "chunkstore.snapshotCrdAnnotations" -}}
{{ include "chunkstore.crdAnnotations" . }}
# Kinds of the *.k8s.io groups must name where they were approved.
api-approved.kubernetes.io: https://github.com/kubernetes-csi/external-snapshotter/pull/814
{{- end -}}

{{- define "chunkstore.snapshotErrorSchema" -}}
type: object
description: The last error, gone after the next success.
properties:
  message: {type: string}
  time: {type: string, format: date-time}
{{- end -}}
