{{/* What the schema cannot say in words that a person understands. Included by every rendering. */}}
{{- define "chunkstore.check" -}}
{{- $pool := .Values.pool -}}
{{- if not (or $pool.size $pool.nodes) -}}
{{- fail "\n\npool.size is missing: say how large the pool of each node shall be, for instance --set pool.size=100GiB" -}}
{{- end -}}
{{- with $pool.size -}}
{{- include "chunkstore.checkSize" (dict "what" "pool.size" "size" .) -}}
{{- end -}}
{{- include "chunkstore.checkAbsolute" (dict "what" "pool.root" "path" $pool.root) -}}
{{- include "chunkstore.checkAbsolute" (dict "what" "kubeletFolder" "path" .Values.kubeletFolder) -}}
{{- include "chunkstore.checkBelow" (dict "what" "pool.folder" "path" $pool.folder) -}}
{{- range $node, $settings := $pool.nodes -}}
{{- $what := printf "pool.nodes.%s" $node -}}
{{- if not (regexMatch "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$" $node) -}}
{{- fail (printf "\n\n%s: %q is not the name of a node, as kubectl get nodes shows it" $what $node) -}}
{{- end -}}
{{- with $settings.size -}}
{{- include "chunkstore.checkSize" (dict "what" (printf "%s.size" $what) "size" .) -}}
{{- end -}}
{{- with $settings.folder -}}
{{- include "chunkstore.checkBelow" (dict "what" (printf "%s.folder" $what) "path" .) -}}
{{- end -}}
{{- end -}}
{{- include "chunkstore.checkClasses" (dict "what" "storageClasses" "classes" .Values.storageClasses) -}}
{{- include "chunkstore.checkClasses" (dict "what" "snapshots.classes" "classes" .Values.snapshots.classes) -}}
{{- if and .Values.snapshots.enabled (not .Values.snapshotController.enabled) (include "chunkstore.isLive" .) -}}
{{- if not (.Capabilities.APIVersions.Has "snapshot.storage.k8s.io/v1") -}}
{{- fail (include "chunkstore.snapshotsMissing" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.checkSize" -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?([KMGT]iB|[KMGT]i|[KMGT])?$" .size) -}}
{{- fail (printf "\n\n%s is %q: it must be a size like 500GiB or 2TiB" .what .size) -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.checkAbsolute" -}}
{{- if not (regexMatch "^(/[^/ ]+)+$" .path) -}}
{{- fail (printf "\n\n%s is %q: it must be an absolute path, without a slash at its end" .what .path) -}}
{{- end -}}
{{- if has ".." (splitList "/" .path) -}}
{{- fail (printf "\n\n%s is %q: it must not lead upwards" .what .path) -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.checkBelow" -}}
{{- if or (not (regexMatch "^[^/ ]+(/[^/ ]+)*$" .path)) (has ".." (splitList "/" .path)) (has "." (splitList "/" .path)) -}}
{{- fail (printf "\n\n%s is %q: it must be a path below pool.root, like pool or nvme0/pool" .what .path) -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.checkClasses" -}}
{{- $names := list -}}
{{- $defaults := list -}}
{{- range .classes -}}
{{- if has .name $names -}}
{{- fail (printf "\n\n%s has two classes of the name %s" $.what .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if .default -}}{{- $defaults = append $defaults .name -}}{{- end -}}
{{- end -}}
{{- if gt (len $defaults) 1 -}}
{{- fail (printf "\n\n%s has more than one default class: %s" .what (join ", " $defaults)) -}}
{{- end -}}
{{- end -}}

{{- define "chunkstore.snapshotsMissing" }}

This cluster has no VolumeSnapshots (snapshot.storage.k8s.io/v1). Choose one:
  - install the cluster's snapshot CRDs and snapshot-controller first, if your distribution has them;
  - let this chart bring both:        --set snapshotController.enabled=true
  - do without snapshots for now:     --set snapshots.enabled=false
{{ end -}}
