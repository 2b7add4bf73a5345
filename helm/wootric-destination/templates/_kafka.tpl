{{/* Logins at Kafka: each component has its own `kafka` values, which default to those of all. */}}

{{/* The values of one login: root, login (the section with its `kafka`). */}}
{{- define "wd.kafka" -}}
{{- $own := default dict (index .root.Values .login).kafka -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy $own)) -}}
{{- end -}}

{{/* Brokers and properties, of a login's values. */}}
{{- define "wd.kafkaLoginEnv" -}}
{{- $properties := deepCopy .properties -}}
- name: KAFKA__BOOTSTRAP_SERVERS
  value: {{ .bootstrapServers | quote }}
{{- if .sasl.mechanism }}
{{- $_ := set $properties "security.protocol" (ternary "SASL_SSL" "SASL_PLAINTEXT" .tls.enabled) }}
{{- $_ := set $properties "sasl.mechanism" .sasl.mechanism }}
{{- else if .tls.enabled }}
{{- $_ := set $properties "security.protocol" "SSL" }}
{{- end }}
{{- if and .tls.enabled .tls.existingSecret }}
{{- if .tls.caKey }}
{{- $_ := set $properties "ssl.ca.location" (printf "/etc/kafka-tls/%s" .tls.caKey) }}
{{- end }}
{{- if .tls.certKey }}
{{- $_ := set $properties "ssl.certificate.location" (printf "/etc/kafka-tls/%s" .tls.certKey) }}
{{- $_ := set $properties "ssl.key.location" (printf "/etc/kafka-tls/%s" .tls.keyKey) }}
{{- end }}
{{- end }}
{{- if and $properties (not .propertiesSecret.name) }}
- name: KAFKA__PROPERTIES
  value: {{ toJson $properties | quote }}
{{- end }}
{{- end -}}

{{/* Which keys of which secrets hold settings, of a login's values. */}}
{{- define "wd.kafkaSecrets" -}}
{{- $found := list -}}
{{- if .propertiesSecret.name -}}
{{- $found = append $found (dict "volume" "kafka-properties" "secret" .propertiesSecret.name "keys" (dict "KAFKA__PROPERTIES" .propertiesSecret.key)) -}}
{{- end -}}
{{- if .sasl.mechanism -}}
{{- $found = append $found (dict "volume" "kafka-login" "secret" .sasl.existingSecret "keys" (dict "KAFKA__SASL_USERNAME" .sasl.usernameKey "KAFKA__SASL_PASSWORD" .sasl.passwordKey)) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* Volumes of certificates, of a login's values. */}}
{{- define "wd.kafkaVolumes" -}}
{{- if and .tls.enabled .tls.existingSecret }}
- name: kafka-tls
  secret:
    secretName: {{ .tls.existingSecret }}
{{- end }}
{{- end -}}

{{- define "wd.kafkaVolumeMounts" -}}
{{- if and .tls.enabled .tls.existingSecret }}
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
{{- if and $kafka.tls.certKey (not $kafka.tls.existingSecret) -}}
{{- fail (printf "%s.tls.existingSecret is required with kafka.tls.certKey" .where) -}}
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
