{{/*
The public listeners as JSON: [{ name, port, servicePort, appProtocol }]. As the gateway does: without any but `admin`, HTTP is on
8080, and a listener without a port is on its usual one.
*/}}
{{- define "sallyport.listeners" -}}
{{- $given := .Values.config.listeners | default dict -}}
{{- $protocols := dict "http" "http" "h2c" "kubernetes.io/h2c" "https" "https" -}}
{{- $usual := dict "http" 8080 "h2c" 8081 "https" 8443 -}}
{{- $names := list -}}
{{- range $name := list "http" "h2c" "https" -}}
{{- if hasKey $given $name }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{- if not $names }}{{ $names = list "http" }}{{ end -}}
{{- $found := list -}}
{{- range $name := $names -}}
{{- $settings := get $given $name | default dict -}}
{{- $port := get $usual $name -}}
{{- if hasKey $settings "port" }}{{ $port = get $settings "port" }}{{ end -}}
{{- $found = append $found (dict "name" $name "port" (int $port) "servicePort" (int (get $.Values.service.ports $name)) "appProtocol" (get $protocols $name)) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "sallyport.adminPort" -}}
{{- $given := .Values.config.listeners | default dict -}}
{{- $settings := get $given "admin" | default dict -}}
{{- if hasKey $settings "port" }}{{ int (get $settings "port") }}{{ else }}9090{{ end -}}
{{- end -}}

{{/* A duration of the configuration (`250ms`, `15s`, `1m`, `1h`, `1d`) in whole seconds, rounded up. */}}
{{- define "sallyport.seconds" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+" $text | int -}}
{{- $unit := regexFind "(ms|s|m|h|d)$" $text -}}
{{- if eq $unit "ms" -}}
{{- div (add $number 999) 1000 -}}
{{- else -}}
{{- mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit | default 1) -}}
{{- end -}}
{{- end -}}

{{/* How long a pod may take from its last second in service to its end: what the probes of a rollout have to wait for. */}}
{{- define "sallyport.drainSeconds" -}}
{{- $limits := .Values.config.limits | default dict -}}
{{- $delay := include "sallyport.seconds" (default "5s" $limits.drainDelay) | int -}}
{{- $timeout := include "sallyport.seconds" (default "25s" $limits.drainTimeout) | int -}}
{{- add .Values.preStopSeconds $delay $timeout -}}
{{- end -}}

{{- define "sallyport.graceSeconds" -}}
{{- .Values.terminationGracePeriodSeconds | default (add (include "sallyport.drainSeconds" . | int) 5) | int -}}
{{- end -}}
