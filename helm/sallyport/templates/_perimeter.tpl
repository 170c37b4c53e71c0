{{/*
The perimeter, in one normal form as JSON, made once from `config` and `perimeter`; every policy, the declaration on the
Deployment and the notes read it. No lookup: what is rendered depends on the values alone.

  gateway:    { from: [peer], dns: {...}, allow: [{ name, namespace | cidr, ..., port, protocol }] }
  admin:      [peer]                                              who may call the admin port
  upstreams:  [{ name, namespace, podSelector, port }]            those inside the cluster
  namespaces: { NAME: { directions, ingress: bool, egress: bool } }   the protected ones
  edges:      [{ id, name, in, from, to, port, protocol }]        ends: { namespace, podLabels } | { cidr, except }
*/}}
{{- define "sallyport.perimeter" -}}
{{- $config := .Values.config -}}
{{- $perimeter := .Values.perimeter -}}
{{- $overrides := $perimeter.protect.namespaces | default dict -}}
{{- $upstreams := list -}}
{{- $names := dict -}}
{{- range $name, $upstream := ($config.upstreams | default dict) -}}
{{- with $upstream.kubernetes -}}
{{- $upstreams = append $upstreams (dict "name" $name "namespace" .namespace "podSelector" .podSelector "port" (int .port)) -}}
{{- $_ := set $names .namespace true -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $overrides }}{{ $_ := set $names $name true }}{{ end -}}
{{- $namespaces := dict -}}
{{- $edges := list -}}
{{- range $name := keys $names | sortAlpha -}}
{{- $own := get $overrides $name | default dict -}}
{{- $directions := $own.defaultDeny | default $perimeter.protect.defaultDeny -}}
{{- $_ := set $namespaces $name (dict "directions" $directions "ingress" (has "Ingress" $directions) "egress" (has "Egress" $directions)) -}}
{{- range $edge := ($own.allow | default list) -}}
{{- $from := $edge.from -}}
{{- if not $from.cidr }}{{ $from = dict "namespace" (default $name $from.namespace) "podLabels" ($from.podLabels | default dict) }}{{ end -}}
{{- $to := $edge.to -}}
{{- if not $to.cidr }}{{ $to = dict "namespace" (default $name $to.namespace) "podLabels" ($to.podLabels | default dict) }}{{ end -}}
{{- $normal := dict "from" $from "to" $to "port" (int $edge.port) "protocol" (default "TCP" $edge.protocol) -}}
{{- $id := default (toJson $normal | sha256sum | trunc 8) $edge.name -}}
{{- $edges = append $edges (merge (dict "id" $id "name" (default (printf "%s/%s" $name $id) $edge.name) "in" $name) $normal) -}}
{{- end -}}
{{- end -}}
{{- $allow := list -}}
{{- range $perimeter.gateway.allow -}}
{{- $allow = append $allow (merge (dict "port" (int .port) "protocol" (default "TCP" .protocol)) (omit . "port" "protocol")) -}}
{{- end -}}
{{- $allow = concat $allow (include "sallyport.literalDestinations" . | fromJsonArray) -}}
{{- $from := $perimeter.gateway.from -}}
{{- if and $from .Values.tests.enabled }}{{ $from = append $from (include "sallyport.testPeer" . | fromYaml) }}{{ end -}}
{{- $admin := $perimeter.metrics.from -}}
{{- range $perimeter.gateway.probesFrom }}{{ $admin = append $admin (dict "cidr" .) }}{{ end -}}
{{- $dns := dict "namespaces" $perimeter.gateway.dns.namespaces "cidrs" $perimeter.gateway.dns.cidrs "ports" $perimeter.gateway.dns.ports -}}
{{- toJson (dict
  "gateway" (dict "from" $from "dns" $dns "allow" $allow)
  "admin" $admin
  "upstreams" $upstreams
  "namespaces" $namespaces
  "edges" $edges
) -}}
{{- end -}}

{{/*
What the configuration reaches besides upstreams with a `kubernetes` block, as JSON: [{ name, url, host, port }]: other upstreams,
issuers, and the services that forward-auth asks. Loopback (a sidecar) needs no policy and is left out.
*/}}
{{- define "sallyport.outside" -}}
{{- $found := list -}}
{{- range $name, $upstream := (.Values.config.upstreams | default dict) -}}
{{- if not $upstream.kubernetes -}}
{{- range $url := concat (ternary (list $upstream.url) list (not (empty $upstream.url))) ($upstream.endpoints | default list) -}}
{{- $found = append $found (dict "name" (printf "upstream %s" $name) "url" $url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $issuer := (.Values.config.issuers | default dict) -}}
{{- $jwks := $issuer.jwks | default dict -}}
{{- range $url := list $issuer.issuer $jwks.url | compact -}}
{{- $found = append $found (dict "name" (printf "issuer %s" $name) "url" $url) -}}
{{- end -}}
{{- end -}}
{{- range $url := include "sallyport.asked" . | fromJsonArray -}}
{{- $found = append $found (dict "name" "forward-auth" "url" $url) -}}
{{- end -}}
{{- $all := list -}}
{{- range $each := $found -}}
{{- $authority := regexReplaceAll "^[a-z0-9]+://([^/?#]*).*$" $each.url "${1}" -}}
{{- $host := regexReplaceAll "(:[0-9]+)?$" $authority "" | trimPrefix "[" | trimSuffix "]" | lower -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" $each.url)) -}}
{{- if not (or (hasPrefix "127." $host) (eq $host "localhost") (eq $host "::1")) -}}
{{- $all = append $all (merge (dict "host" $host "port" (int $port)) $each) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* Addresses of the services that forward-auth asks, on every route or on one, by itself or in `any`; as JSON. */}}
{{- define "sallyport.asked" -}}
{{- $uses := .Values.config.plugins | default list -}}
{{- range $_, $route := (.Values.config.routes | default dict) }}{{ $uses = concat $uses ($route.plugins | default list) }}{{ end -}}
{{- range $use := $uses -}}
{{- if kindIs "map" $use }}{{ $uses = concat $uses ($use.any | default list) }}{{ end -}}
{{- end -}}
{{- $urls := list -}}
{{- range $use := $uses -}}
{{- if kindIs "map" $use }}{{ with get $use "forward-auth" }}{{ $urls = append $urls .url }}{{ end }}{{ end -}}
{{- end -}}
{{- toJson (uniq $urls) -}}
{{- end -}}

{{/* Of those, the ones whose address is written down are let out without being declared a second time. */}}
{{- define "sallyport.literalDestinations" -}}
{{- $found := list -}}
{{- $seen := dict -}}
{{- range include "sallyport.outside" . | fromJsonArray -}}
{{- $cidr := "" -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+){3}$" .host }}{{ $cidr = printf "%s/32" .host }}{{ end -}}
{{- if contains ":" .host }}{{ $cidr = printf "%s/128" .host }}{{ end -}}
{{- $key := printf "%s %d" $cidr (int .port) -}}
{{- if and $cidr (not (hasKey $seen $key)) -}}
{{- $_ := set $seen $key true -}}
{{- $found = append $found (dict "name" .name "cidr" $cidr "port" (int .port) "protocol" "TCP") -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
The declaration that `sallyport verify` reads from the Deployment (docs/adr/0010): what is meant to be open, with every default
filled in.
*/}}
{{- define "sallyport.declaration" -}}
{{- $perimeter := include "sallyport.perimeter" . | fromJson -}}
{{- $namespaces := dict -}}
{{- range $name, $closed := $perimeter.namespaces -}}
{{- $allow := list -}}
{{- range $perimeter.edges -}}
{{- if eq .in $name }}{{ $allow = append $allow (omit . "id" "in") }}{{ end -}}
{{- end -}}
{{- $_ := set $namespaces $name (dict "defaultDeny" $closed.directions "allow" $allow) -}}
{{- end -}}
{{- toJson (dict
  "gateway" $perimeter.gateway
  "metrics" (dict "from" $perimeter.admin)
  "protect" (dict "scope" .Values.perimeter.protect.scope "defaultDeny" .Values.perimeter.protect.defaultDeny "namespaces" $namespaces)
) -}}
{{- end -}}

{{/*
One peer of a rule, from { namespace, podLabels } or { cidr, except }. Namespace and pods stand in ONE item: two items would
mean either.
*/}}
{{- define "sallyport.peer" -}}
{{- if .cidr -}}
- ipBlock:
    cidr: {{ .cidr | quote }}
    {{- with .except }}
    except: {{ toJson . }}
    {{- end }}
{{- else -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace | quote }}
  {{- with .podLabels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The gateway's pods as a peer, from any namespace. */}}
{{- define "sallyport.gatewayPeer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace | quote }}
  podSelector:
    matchLabels:
      {{- include "sallyport.selectorLabels" . | nindent 6 }}
{{- end -}}

{{/* The egress rule to DNS; nothing where no server is named, because a rule without peers would let out to anywhere. */}}
{{- define "sallyport.dnsRule" -}}
{{- with .Values.perimeter.gateway.dns -}}
{{- if or .namespaces .cidrs -}}
- to:
    {{- range .namespaces }}
    {{- include "sallyport.peer" (dict "namespace" .) | nindent 4 }}
    {{- end }}
    {{- range .cidrs }}
    {{- include "sallyport.peer" (dict "cidr" .) | nindent 4 }}
    {{- end }}
  ports:
    {{- range .ports }}
    - { protocol: UDP, port: {{ int . }} }
    - { protocol: TCP, port: {{ int . }} }
    {{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Head of a policy: `include "sallyport.policyMetadata" (dict "root" . "namespace" … "role" … "name" …)`. The name holds the
release's namespace, so that two gateways can protect one namespace.
*/}}
{{- define "sallyport.policyMetadata" -}}
name: {{ printf "%s.%s.%s" (include "sallyport.fullname" .root) .root.Release.Namespace .name }}
namespace: {{ .namespace | quote }}
labels:
  {{- include "sallyport.labels" (dict "root" .root "component" "perimeter" "role" .role) | nindent 2 }}
{{- if .root.Values.perimeter.keepOnUninstall }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end -}}

{{/*
What is closed, as JSON: [{ namespace, podLabels, suffix }]; no podLabels: every pod there. With scope `namespace` that is one
entry a namespace, with `upstreams` one an upstream.
*/}}
{{- define "sallyport.protectedPods" -}}
{{- $perimeter := include "sallyport.perimeter" . | fromJson -}}
{{- $found := list -}}
{{- if eq .Values.perimeter.protect.scope "namespace" -}}
{{- range $name := keys $perimeter.namespaces | sortAlpha -}}
{{- $found = append $found (dict "namespace" $name "podLabels" dict "suffix" "") -}}
{{- end -}}
{{- else -}}
{{- $seen := dict -}}
{{- range $perimeter.upstreams -}}
{{- $key := toJson (list .namespace .podSelector) -}}
{{- if not (hasKey $seen $key) -}}
{{- $_ := set $seen $key true -}}
{{- $found = append $found (dict "namespace" .namespace "podLabels" .podSelector "suffix" (printf ".%s" .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
Which closed pods one end of an edge is, as JSON: [{ podLabels, suffix }]. A policy that opens pods also closes them for the rest,
so an edge to pods that are open anyway makes none.
  dict "root" . "namespace" … "podLabels" … "direction" ingress | egress
*/}}
{{- define "sallyport.closedPods" -}}
{{- $wanted := . -}}
{{- $perimeter := include "sallyport.perimeter" .root | fromJson -}}
{{- $found := list -}}
{{- range include "sallyport.protectedPods" .root | fromJsonArray -}}
{{- if and (eq .namespace $wanted.namespace) (get (get $perimeter.namespaces .namespace) $wanted.direction) -}}
{{- $both := true -}}
{{- $closed := .podLabels | default dict -}}
{{- range $key, $value := $wanted.podLabels -}}
{{- if and (hasKey $closed $key) (ne (get $closed $key) $value) }}{{ $both = false }}{{ end -}}
{{- end -}}
{{- if $both -}}
{{- $found = append $found (dict "podLabels" (merge (dict) $wanted.podLabels $closed) "suffix" .suffix) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The pods of `helm test` as a peer: they have to reach the public ports, and nothing else. */}}
{{- define "sallyport.testPeer" -}}
namespace: {{ .Release.Namespace | quote }}
podLabels:
  app.kubernetes.io/name: sallyport
  app.kubernetes.io/instance: {{ .Release.Name | quote }}
  app.kubernetes.io/component: test
{{- end -}}

{{/* The declared edges, as JSON, whose callers include the gateway: those from all pods of its namespace. */}}
{{- define "sallyport.edgesFromGateway" -}}
{{- $labels := include "sallyport.selectorLabels" . | fromYaml -}}
{{- $found := list -}}
{{- range (include "sallyport.perimeter" . | fromJson).edges -}}
{{- $isGateway := eq (toString .from.namespace) $.Release.Namespace -}}
{{- range $key, $value := (.from.podLabels | default dict) -}}
{{- if ne (toString (get $labels $key)) $value }}{{ $isGateway = false }}{{ end -}}
{{- end -}}
{{- if $isGateway }}{{ $found = append $found . }}{{ end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
