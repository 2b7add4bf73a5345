{{/* What every pod of this chart has. */}}

{{/* Kafka's settings, for every command. Needs no Wootric credentials. */}}
{{- define "wd.kafkaEnv" -}}
{{- $kafka := .Values.kafka -}}
{{- $properties := deepCopy $kafka.properties -}}
- name: KAFKA__BOOTSTRAP_SERVERS
  value: {{ $kafka.bootstrapServers | quote }}
{{- if $kafka.sasl.mechanism }}
{{- $_ := set $properties "security.protocol" (ternary "SASL_SSL" "SASL_PLAINTEXT" $kafka.tls.enabled) }}
{{- $_ := set $properties "sasl.mechanism" $kafka.sasl.mechanism }}
{{- else if $kafka.tls.enabled }}
{{- $_ := set $properties "security.protocol" "SSL" }}
{{- end }}
{{- if and $kafka.tls.enabled $kafka.tls.existingSecret }}
{{- if $kafka.tls.caKey }}
{{- $_ := set $properties "ssl.ca.location" (printf "/etc/kafka-tls/%s" $kafka.tls.caKey) }}
{{- end }}
{{- if $kafka.tls.certKey }}
{{- $_ := set $properties "ssl.certificate.location" (printf "/etc/kafka-tls/%s" $kafka.tls.certKey) }}
{{- $_ := set $properties "ssl.key.location" (printf "/etc/kafka-tls/%s" $kafka.tls.keyKey) }}
{{- end }}
{{- end }}
{{- if and $properties (not $kafka.propertiesSecret.name) }}
- name: KAFKA__PROPERTIES
  value: {{ toJson $properties | quote }}
{{- end }}
- name: HTTP__PORT
  value: {{ .Values.metrics.port | quote }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ include "wd.text" $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Which keys of which secrets a pod needs, by setting: root, wootric, bridge. */}}
{{- define "wd.secrets" -}}
{{- $values := .root.Values -}}
{{- $kafka := $values.kafka -}}
{{- $found := list -}}
{{- if $kafka.propertiesSecret.name -}}
{{- $found = append $found (dict "volume" "kafka-properties" "secret" $kafka.propertiesSecret.name "keys" (dict "KAFKA__PROPERTIES" $kafka.propertiesSecret.key)) -}}
{{- end -}}
{{- if $kafka.sasl.mechanism -}}
{{- $found = append $found (dict "volume" "kafka-login" "secret" $kafka.sasl.existingSecret "keys" (dict "KAFKA__SASL_USERNAME" $kafka.sasl.usernameKey "KAFKA__SASL_PASSWORD" $kafka.sasl.passwordKey)) -}}
{{- end -}}
{{- if .wootric -}}
{{- $keys := $values.wootric.keys -}}
{{- $names := dict "WOOTRIC__ACCOUNT_TOKEN" $keys.accountToken -}}
{{- if eq $values.wootric.auth "client" -}}
{{- $names = merge $names (dict "WOOTRIC__CLIENT_ID" $keys.clientId "WOOTRIC__CLIENT_SECRET" $keys.clientSecret) -}}
{{- else -}}
{{- $names = merge $names (dict "WOOTRIC__USERNAME" $keys.username "WOOTRIC__PASSWORD" $keys.password) -}}
{{- end -}}
{{- $found = append $found (dict "volume" "wootric" "secret" (include "wd.wootricSecret" .root) "keys" $names) -}}
{{- end -}}
{{- if and (or .wootric .bridge) $values.schemaRegistry.existingSecret -}}
{{- $found = append $found (dict "volume" "registry" "secret" $values.schemaRegistry.existingSecret "keys" (dict "SCHEMA_REGISTRY__PASSWORD" $values.schemaRegistry.passwordKey)) -}}
{{- end -}}
{{- if .bridge -}}
{{- $names := dict "BRIDGE__SHARED_SECRET" $values.bridge.secretKey -}}
{{- with $values.bridge.previousSecretKey -}}
{{- $_ := set $names "BRIDGE__PREVIOUS_SECRET" . -}}
{{- end -}}
{{- $found = append $found (dict "volume" "bridge" "secret" $values.bridge.existingSecret "keys" $names) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "wd.secretEnv" -}}
{{- $asFiles := .root.Values.secrets.asFiles -}}
{{- range $one := fromYamlArray (include "wd.secrets" .) }}
{{- range $setting, $key := $one.keys }}
{{- if $asFiles }}
- name: {{ $setting }}_FILE
  value: /etc/wootric-stream/{{ $one.volume }}/{{ $key }}
{{- else }}
- name: {{ $setting }}
  valueFrom:
    secretKeyRef:
      name: {{ $one.secret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pod settings without containers: root, component, wootric, bridge. */}}
{{- define "wd.podSpec" -}}
{{- $root := .root -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if $root.Values.secrets.asFiles }}
  {{- range $one := fromYamlArray (include "wd.secrets" .) }}
  - name: {{ $one.volume }}
    secret:
      secretName: {{ $one.secret }}
      defaultMode: 0440
      items:
        {{- range $key := values $one.keys | uniq | sortAlpha }}
        - key: {{ $key }}
          path: {{ $key }}
        {{- end }}
  {{- end }}
  {{- end }}
  {{- if and (eq .component "worker") (eq $root.Values.state.kind "emptyDir") }}
  - name: state
    emptyDir:
      sizeLimit: {{ $root.Values.state.size }}
  {{- end }}
  {{- if and $root.Values.kafka.tls.enabled $root.Values.kafka.tls.existingSecret }}
  - name: kafka-tls
    secret:
      secretName: {{ $root.Values.kafka.tls.existingSecret }}
  {{- end }}
  {{- with $root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "wd.spread" -}}
topologySpreadConstraints:
{{- if .root.Values.topologySpreadConstraints }}
  {{- toYaml .root.Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "wd.selector" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A container without its ports and probes: root, args, resources, wootric, bridge. */}}
{{- define "wd.container" -}}
{{- $root := .root -}}
image: {{ include "wd.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args:
  {{- toYaml .args | nindent 2 }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
{{- with $root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if $root.Values.secrets.asFiles }}
  {{- range $one := fromYamlArray (include "wd.secrets" .) }}
  {{- /* Of the whole folder: what is mounted by subPath never changes. */}}
  - name: {{ $one.volume }}
    mountPath: /etc/wootric-stream/{{ $one.volume }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if and .state (ne $root.Values.state.kind "memory") }}
  - name: state
    mountPath: /state
  {{- end }}
  {{- if and $root.Values.kafka.tls.enabled $root.Values.kafka.tls.existingSecret }}
  - name: kafka-tls
    mountPath: /etc/kafka-tls
    readOnly: true
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "wd.podMetadata" -}}
labels:
  {{- toYaml (mergeOverwrite (deepCopy .root.Values.podLabels) (fromYaml (include "wd.labels" .))) | nindent 2 }}
{{- with (mergeOverwrite (deepCopy .root.Values.podAnnotations) (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A Job that runs before install and upgrade. It uses what exists already: no secret and no
     service account of this release. root, name, weight, args, wootric, bridge. */}}
{{- define "wd.hookJob" -}}
{{- $root := .root -}}
{{- $needs := dict "root" $root "component" .name "wootric" .wootric "bridge" .bridge -}}
{{- $resources := dict "requests" (dict "cpu" "100m" "memory" "128Mi") "limits" (dict "memory" "256Mi") -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "wd.metadata" (dict "root" $root "component" .name "suffix" .name "annotations" (dict "helm.sh/hook" "pre-install,pre-upgrade" "helm.sh/hook-weight" .weight "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded")) | nindent 2 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 180
  template:
    metadata:
      {{- include "wd.podMetadata" (dict "root" $root "component" .name) | nindent 6 }}
    spec:
      restartPolicy: Never
      {{- include "wd.podSpec" $needs | nindent 6 }}
      containers:
        - name: {{ .name }}
          {{- include "wd.container" (merge (dict "args" .args "resources" $resources) $needs) | nindent 10 }}
          env:
            {{- include "wd.kafkaEnv" $root | nindent 12 }}
            {{- include "wd.secretEnv" $needs | trim | nindent 12 }}
{{- end -}}
