{{/*
A pod of `helm test`. It has none of the gateway's selector labels, or the policies would take it for the gateway.
  dict "root" . "name" … "script" "files/…" "env" (dict …)
*/}}
{{- define "sallyport.testPod" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "sallyport.fullname" $root }}-test-{{ .name }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "sallyport.labels" (dict "root" $root "component" "test") | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ include "sallyport.serviceAccountName" $root }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  containers:
    - name: test
      image: {{ include "sallyport.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [node, --input-type=module, --eval]
      args:
        - |
          {{- $root.Files.Get .script | nindent 10 }}
      env:
        - name: TIMEOUT_SECONDS
          value: {{ $root.Values.tests.timeoutSeconds | quote }}
        {{- range $name, $value := .env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      resources:
        {{- toYaml $root.Values.tests.resources | nindent 8 }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
{{- end -}}

{{/*
What a pod that is not the gateway must not reach, as JSON: [{ name, host, port }]: the admin port, which is there in every
release, and each upstream by the name that the gateway uses.
*/}}
{{- define "sallyport.testTargets" -}}
{{- $found := list -}}
{{- $scrapesFromHere := false -}}
{{- range .Values.perimeter.metrics.from -}}
{{- if or .cidr (and (eq (toString .namespace) $.Release.Namespace) (not .podLabels)) }}{{ $scrapesFromHere = true }}{{ end -}}
{{- end -}}
{{- if and .Values.adminService.enabled (not $scrapesFromHere) (not .Values.perimeter.gateway.probesFrom) -}}
{{- $found = append $found (dict "name" "the admin port" "host" (printf "%s-admin.%s" (include "sallyport.fullname" .) .Release.Namespace) "port" (include "sallyport.adminPort" . | int)) -}}
{{- end -}}
{{- range $name, $upstream := (.Values.config.upstreams | default dict) -}}
{{- if $upstream.kubernetes -}}
{{- range $url := concat (ternary (list $upstream.url) list (not (empty $upstream.url))) ($upstream.endpoints | default list) -}}
{{- $authority := regexReplaceAll "^[a-z0-9]+://([^/?#]*).*$" $url "${1}" -}}
{{- $host := regexReplaceAll "(:[0-9]+)?$" $authority "" | trimPrefix "[" | trimSuffix "]" -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" $url)) -}}
{{- $found = append $found (dict "name" (printf "upstream %s" $name) "host" $host "port" (int $port)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
