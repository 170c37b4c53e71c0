{{/* Name of the release's objects. A release whose name has the chart's in it is called by its own name alone. */}}
{{- define "sallyport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sallyport.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry }}{{ $name = printf "%s/%s" $image.registry $image.repository }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
What makes a pod the gateway, to `sallyport verify` too: for its Services, and for the policies of every protected namespace. Immutable, never with a label
of a user, and never on any other pod: a test pod with these labels would be let through to the upstreams.
*/}}
{{- define "sallyport.selectorLabels" -}}
app.kubernetes.io/name: sallyport
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* Labels of an object: `include "sallyport.labels" (dict "root" . "component" "gateway" "extra" .Values.…)`. Ours win. */}}
{{- define "sallyport.labels" -}}
{{- $root := .root -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" "sallyport"
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" .component
  "app.kubernetes.io/version" ($root.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/part-of" "sallyport"
-}}
{{- $role := dict -}}
{{- if .role }}{{ $_ := set $role "sallyport.io/role" .role }}{{ end -}}
{{- toYaml (mergeOverwrite (dict) (deepCopy $root.Values.commonLabels) (deepCopy (default dict .extra)) $ours $role) -}}
{{- end -}}

{{/* Labels of a pod of the gateway: the ones that may change never make a new ReplicaSet by an upgrade of the chart alone. */}}
{{- define "sallyport.podLabels" -}}
{{- $ours := include "sallyport.selectorLabels" . | fromYaml -}}
{{- toYaml (mergeOverwrite (dict) (deepCopy .Values.commonLabels) (deepCopy .Values.podLabels) $ours) -}}
{{- end -}}
