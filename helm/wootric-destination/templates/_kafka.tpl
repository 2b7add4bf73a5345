{{/* Logins at Kafka: each component has its own `kafka` values, which default to those of all. */}}

{{/* The values of one login: root, login (the section with its `kafka`). */}}
{{- define "wd.kafka" -}}
{{- $own := default dict (index .root.Values .login).kafka -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy $own)) -}}
{{- end -}}

{{/* Secrets with the authority and with the client certificate, of a login's values; empty without TLS. */}}
{{- define "wd.caSecret" -}}
{{- if and .tls.enabled .tls.caKey -}}{{ default .tls.existingSecret .tls.caSecret }}{{- end -}}
{{- end -}}

{{- define "wd.clientSecret" -}}
{{- if and .tls.enabled .tls.certKey -}}{{ default .tls.existingSecret .tls.clientSecret }}{{- end -}}
{{- end -}}

{{/* Brokers and properties, of a login's values. */}}
{{- define "wd.kafkaLoginEnv" -}}
{{- $properties := deepCopy .properties -}}
- name: KAFKA__BOOTSTRAP_SERVERS
  value: {{ .bootstrapServers | quote }}
{{- if .sasl.mechanism }}
{{- $_ := set $properties "security.protocol" (ternary "SASL_SSL" "SASL_PLAINTEXT" .tls.enabled) }}
{{- $_ := set $properties "sasl.mechanism" .sasl.mechanism }}
{{- if eq .sasl.mechanism "OAUTHBEARER" }}
{{- $_ := set $properties "sasl.oauthbearer.method" "oidc" }}
{{- range $name, $value := dict "token.endpoint.url" .sasl.oidc.tokenEndpoint "scope" .sasl.oidc.scope "extensions" .sasl.oidc.extensions }}
{{- if $value }}
{{- $_ := set $properties (printf "sasl.oauthbearer.%s" $name) $value }}
{{- end }}
{{- end }}
{{- end }}
{{- else if .tls.enabled }}
{{- $_ := set $properties "security.protocol" "SSL" }}
{{- end }}
{{- if include "wd.caSecret" . }}
{{- $_ := set $properties "ssl.ca.location" (printf "/etc/kafka-tls/%s" .tls.caKey) }}
{{- end }}
{{- if include "wd.clientSecret" . }}
{{- $_ := set $properties "ssl.certificate.location" (printf "/etc/kafka-tls/%s" .tls.certKey) }}
{{- $_ := set $properties "ssl.key.location" (printf "/etc/kafka-tls/%s" .tls.keyKey) }}
{{- end }}
{{- if and $properties (not .propertiesSecret.name) }}
- name: KAFKA__PROPERTIES
  value: {{ toJson $properties | quote }}
{{- end }}
{{- if and .sasl.mechanism .sasl.username }}
- name: KAFKA__SASL_USERNAME
  value: {{ .sasl.username | quote }}
{{- end }}
{{- end -}}

{{/* Which keys of which secrets hold settings, of a login's values. */}}
{{- define "wd.kafkaSecrets" -}}
{{- $found := list -}}
{{- if .propertiesSecret.name -}}
{{- $found = append $found (dict "volume" "kafka-properties" "secret" .propertiesSecret.name "keys" (dict "KAFKA__PROPERTIES" .propertiesSecret.key)) -}}
{{- end -}}
{{- if .sasl.mechanism -}}
{{- $keys := dict "KAFKA__SASL_PASSWORD" .sasl.passwordKey -}}
{{- if not .sasl.username -}}
{{- $_ := set $keys "KAFKA__SASL_USERNAME" .sasl.usernameKey -}}
{{- end -}}
{{- $found = append $found (dict "volume" "kafka-login" "secret" .sasl.existingSecret "keys" $keys) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* Volumes of certificates, of a login's values. */}}
{{- define "wd.kafkaVolumes" -}}
{{- $ca := include "wd.caSecret" . }}
{{- $client := include "wd.clientSecret" . }}
{{- if or $ca $client }}
- name: kafka-tls
  projected:
    sources:
      {{- if $ca }}
      - secret:
          name: {{ $ca }}
          items:
            - key: {{ .tls.caKey }}
              path: {{ .tls.caKey }}
      {{- end }}
      {{- if $client }}
      - secret:
          name: {{ $client }}
          items:
            {{- range $key := list .tls.certKey .tls.keyKey }}
            - key: {{ $key }}
              path: {{ $key }}
            {{- end }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "wd.kafkaVolumeMounts" -}}
{{- if or (include "wd.caSecret" .) (include "wd.clientSecret" .) }}
- name: kafka-tls
  mountPath: /etc/kafka-tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* What cannot be said in the schema: kafka, where (the section that is named). */}}
{{- define "wd.validateKafka" -}}
{{- $kafka := .kafka -}}
{{- if not $kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is required, e.g. --set kafka.bootstrapServers=kafka:9092" -}}
{{- end -}}
{{- if and $kafka.propertiesSecret.name (or $kafka.tls.enabled $kafka.sasl.mechanism $kafka.properties) -}}
{{- fail (printf "%s.propertiesSecret replaces kafka.properties, kafka.tls and kafka.sasl: set one or the others" .where) -}}
{{- end -}}
{{- if and $kafka.sasl.mechanism (not $kafka.sasl.existingSecret) -}}
{{- fail (printf "%s.sasl.existingSecret is required with kafka.sasl.mechanism" .where) -}}
{{- end -}}
{{- if and (eq $kafka.sasl.mechanism "OAUTHBEARER") (not $kafka.sasl.oidc.tokenEndpoint) -}}
{{- fail (printf "%s.sasl.oidc.tokenEndpoint is required with OAUTHBEARER; for Amazon MSK set settings.KAFKA__AUTH=aws_msk_iam instead" .where) -}}
{{- end -}}
{{- if and .iam $kafka.sasl.mechanism -}}
{{- fail (printf "settings.KAFKA__AUTH=aws_msk_iam is a login of its own: leave %s.sasl.mechanism empty" .where) -}}
{{- end -}}
{{- if and $kafka.tls.certKey (not (include "wd.clientSecret" $kafka)) -}}
{{- fail (printf "%s.tls.existingSecret or %s.tls.clientSecret is required with kafka.tls.certKey" .where .where) -}}
{{- end -}}
{{- if and $kafka.tls.clientSecret (not $kafka.tls.certKey) -}}
{{- fail (printf "%s.tls.certKey and %s.tls.keyKey are required with kafka.tls.clientSecret" .where .where) -}}
{{- end -}}
{{- if ne (empty $kafka.tls.certKey) (empty $kafka.tls.keyKey) -}}
{{- fail (printf "%s.tls.certKey and %s.tls.keyKey must be set together" .where .where) -}}
{{- end -}}
{{- end -}}

{{/* Group and topics */}}

{{- define "wd.groupId" -}}
{{- default (include "wd.fullname" .) .Values.kafka.groupId -}}
{{- end -}}

{{- define "wd.ledgerTopic" -}}
{{- default (printf "%s.wootric.ledger" .Values.kafka.topic) (index .Values.settings "KAFKA__LEDGER_TOPIC") -}}
{{- end -}}
