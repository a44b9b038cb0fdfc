{{- define "chunkstore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Begins the names of all objects; 40 characters leave room for what follows. */}}
{{- define "chunkstore.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "chunkstore.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name that Kubernetes, kubelet and all volumes know the driver by. */}}
{{- define "chunkstore.driver" -}}csi.chunkstore.dev{{- end -}}

{{- define "chunkstore.stores" -}}{{ include "chunkstore.fullname" . }}-stores{{- end -}}

{{/* Labels of every object: (dict "root" $ "component" "store"). */}}
{{- define "chunkstore.labels" -}}
{{ include "chunkstore.selector" . }}
app.kubernetes.io/part-of: chunkstore
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* What never changes between versions, so that a pod is replaced only when it differs. */}}
{{- define "chunkstore.selector" -}}
app.kubernetes.io/name: {{ include "chunkstore.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "chunkstore.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where the programs of a node run: all three on the same nodes. */}}
{{- define "chunkstore.nodePlacement" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .Values.nodes.selector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.nodes.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodes.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of containers that need nothing from the kernel. */}}
{{- define "chunkstore.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "chunkstore.unprivilegedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Probes of a program with --http. */}}
{{- define "chunkstore.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* A CRD is left alone where it exists and is not this release's. Without a cluster it is always rendered. */}}
{{- define "chunkstore.ownsCrd" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $annotations := dig "metadata" "annotations" (dict) (default (dict) $found) -}}
{{- $ours := and (eq (get $annotations "meta.helm.sh/release-name") .root.Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") .root.Release.Namespace) -}}
{{- if or (not $found) $ours -}}true{{- end -}}
{{- end -}}

{{- define "chunkstore.crdAnnotations" -}}
helm.sh/resource-policy: keep
{{- end -}}

{{/* True when a cluster answers; a rendering without one never depends on it. */}}
{{- define "chunkstore.isLive" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}true{{- end -}}
{{- end -}}

{{- define "chunkstore.isPrivilegedNamespace" -}}
{{- $namespace := lookup "v1" "Namespace" "" .Release.Namespace -}}
{{- if eq "privileged" (dig "metadata" "labels" "pod-security.kubernetes.io/enforce" "" (default (dict) $namespace)) -}}true{{- end -}}
{{- end -}}
