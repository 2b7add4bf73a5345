{{/* Ports that a pod must reach, from its settings. */}}

{{/* The port of a URL. */}}
{{- define "wd.urlPort" -}}
{{- $host := regexReplaceAll "^([a-zA-Z0-9+.-]+://)?([^/@]*@)?([^/?#]*).*$" . "${3}" -}}
{{- $port := regexFind ":[0-9]+$" $host -}}
{{- if $port -}}
{{- trimPrefix ":" $port -}}
{{- else -}}
{{- ternary "80" "443" (hasPrefix "http:" (lower .)) -}}
{{- end -}}
{{- end -}}

{{/* The host of a URL. */}}
{{- define "wd.urlHost" -}}
{{- regexReplaceAll ":[0-9]+$" (regexReplaceAll "^([a-zA-Z0-9+.-]+://)?([^/@]*@)?([^/?#]*).*$" . "${3}") "" -}}
{{- end -}}

{{/* Of the brokers: the policy's, and those of the pod's own bootstrap servers. A pod. */}}
{{- define "wd.kafkaPorts" -}}
{{- $ports := list -}}
{{- range $port := .root.Values.networkPolicy.kafkaPorts -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- range $server := splitList "," (fromYaml (include "wd.kafka" .)).bootstrapServers -}}
{{- with regexFind "[0-9]+$" (trim $server) -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $ports) -}}
{{- end -}}

{{/* Of all else that the settings name: Wootric, the schema registry, a collector of traces, an
     egress proxy, and where a token for Kafka is fetched. A pod. */}}
{{- define "wd.endpointPorts" -}}
{{- $settings := .root.Values.settings -}}
{{- $urls := list -}}
{{- $byName := eq .root.Values.networkPolicy.flavor "cilium" -}}
{{- if and .wootric (not $byName) -}}
{{- $urls = append $urls (default "https://" (index $settings "WOOTRIC__API_URL")) -}}
{{- $urls = append $urls (default "https://" (index $settings "WOOTRIC__PIXEL_URL")) -}}
{{- end -}}
{{- if .registry -}}
{{- $urls = append $urls (default "" (index $settings "SCHEMA_REGISTRY__URL")) -}}
{{- end -}}
{{- $urls = append $urls (default "" (index (fromYaml (include "wd.kafka" .)).properties "sasl.oauthbearer.token.endpoint.url")) -}}
{{- range $entry := (fromYaml (include "wd.podSettings" .)).extraEnv -}}
{{- if has (upper $entry.name) (list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" "HTTPS_PROXY" "HTTP_PROXY" "ALL_PROXY") -}}
{{- $urls = append $urls (default "" $entry.value) -}}
{{- end -}}
{{- end -}}
{{- $ports := list -}}
{{- range $url := $urls -}}
{{- if $url -}}
{{- $ports = append $ports (int (include "wd.urlPort" $url)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $ports) -}}
{{- end -}}
