{{/* What every pod of this chart has. A pod is described by a dict:

     root, component   the label of the pod
     section           the values with its pod settings
     login             the values with its `kafka`
     wootric, bridge   whether it gets these secrets
     http              whether it serves or reads HTTP__PORT
     args, resources, state */}}

{{/* Pod settings: those of all, and over them the section's own. */}}
{{- define "wd.podSettings" -}}
{{- $all := .root.Values -}}
{{- $own := index $all .section -}}
{{- $found := dict -}}
{{- range $name := list "podAnnotations" "podLabels" "nodeSelector" -}}
{{- $_ := set $found $name (mergeOverwrite (deepCopy (default dict (index $all $name))) (deepCopy (default dict (index $own $name)))) -}}
{{- end -}}
{{- range $name := list "tolerations" "affinity" "priorityClassName" -}}
{{- $_ := set $found $name (default (index $all $name) (index $own $name)) -}}
{{- end -}}
{{- $_ := set $found "extraEnv" (concat (default list $all.extraEnv) (default list $own.extraEnv)) -}}
{{- toYaml $found -}}
{{- end -}}

{{/* Settings as the environment, without secrets. */}}
{{- define "wd.env" -}}
{{- $values := .root.Values -}}
{{ include "wd.kafkaLoginEnv" (fromYaml (include "wd.kafka" .)) }}
- name: KAFKA__TOPIC
  value: {{ $values.kafka.topic | quote }}
- name: KAFKA__GROUP_ID
  value: {{ include "wd.groupId" .root | quote }}
- name: HTTP__PORT
  value: {{ $values.metrics.port | quote }}
{{- range $name, $value := $values.settings }}
- name: {{ $name }}
  value: {{ include "wd.text" $value | quote }}
{{- end }}
{{- include "wd.secretEnv" . }}
{{- with (fromYaml (include "wd.podSettings" .)).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Which keys of which secrets a pod needs, by setting. */}}
{{- define "wd.secrets" -}}
{{- $values := .root.Values -}}
{{- $found := fromYamlArray (include "wd.kafkaSecrets" (fromYaml (include "wd.kafka" .))) -}}
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
{{- if and .registry $values.schemaRegistry.existingSecret -}}
{{- $found = append $found (dict "volume" "registry" "secret" $values.schemaRegistry.existingSecret "keys" (dict "SCHEMA_REGISTRY__PASSWORD" $values.schemaRegistry.passwordKey)) -}}
{{- end -}}
{{- if .bridge -}}
{{- $names := dict "BRIDGE__SHARED_SECRET" $values.bridge.secretKey -}}
{{- with $values.bridge.previousSecretKey -}}
{{- $_ := set $names "BRIDGE__PREVIOUS_SECRET" . -}}
{{- end -}}
{{- $found = append $found (dict "volume" "bridge" "secret" $values.bridge.existingSecret "keys" $names) -}}
{{- end -}}
{{- if and .http $values.metrics.bearerToken.existingSecret -}}
{{- $found = append $found (dict "volume" "metrics" "secret" $values.metrics.bearerToken.existingSecret "keys" (dict "HTTP__BEARER_TOKEN" $values.metrics.bearerToken.key)) -}}
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

{{/* On OpenShift the namespace's range decides about ids. root, context. */}}
{{- define "wd.securityContext" -}}
{{- $adapt := .root.Values.global.compatibility.openshift.adaptSecurityContext -}}
{{- $openshift := and (eq $adapt "auto") (.root.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
{{- if or (eq $adapt "force") $openshift -}}
{{- toYaml (omit .context "runAsUser" "runAsGroup" "fsGroup") -}}
{{- else -}}
{{- toYaml .context -}}
{{- end -}}
{{- end -}}

{{/* The service account of a pod, which exists when the pod starts: before an install there is none
     of this release. */}}
{{- define "wd.serviceAccountOf" -}}
{{- $values := .root.Values -}}
{{- $own := (index $values .section).serviceAccountName -}}
{{- if $own -}}
{{- $own -}}
{{- else if or (ne .section "hooks") (not $values.serviceAccount.create) -}}
{{- include "wd.serviceAccountName" .root -}}
{{- end -}}
{{- end -}}

{{/* A pod's spec without its containers. */}}
{{- define "wd.podSpec" -}}
{{- $values := .root.Values -}}
{{- $settings := fromYaml (include "wd.podSettings" .) -}}
{{- with include "wd.serviceAccountOf" . }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with concat (default list $values.global.imagePullSecrets) $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "wd.securityContext" (dict "root" .root "context" $values.podSecurityContext) | nindent 2 }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $settings $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with (index $values .section).initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if $values.secrets.asFiles }}
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
  {{- if and .state (eq $values.state.kind "emptyDir") }}
  - name: state
    emptyDir:
      sizeLimit: {{ $values.state.size }}
  {{- end }}
  {{- include "wd.kafkaVolumes" (fromYaml (include "wd.kafka" .)) | nindent 2 }}
  {{- with $values.extraVolumes }}
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

{{/* A container without its environment, ports and probes. */}}
{{- define "wd.container" -}}
{{- $values := .root.Values -}}
image: {{ include "wd.image" .root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- with .args }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "wd.securityContext" (dict "root" .root "context" $values.securityContext) | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if $values.secrets.asFiles }}
  {{- range $one := fromYamlArray (include "wd.secrets" .) }}
  {{- /* Of the whole folder: what is mounted by subPath never changes. */}}
  - name: {{ $one.volume }}
    mountPath: /etc/wootric-stream/{{ $one.volume }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if and .state (ne $values.state.kind "memory") }}
  - name: state
    mountPath: /state
  {{- end }}
  {{- include "wd.kafkaVolumeMounts" (fromYaml (include "wd.kafka" .)) | nindent 2 }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The three probes of what serves HTTP__PORT: the chart's values. */}}
{{- define "wd.probes" -}}
{{- range $probe, $path := dict "startup" "/startupz" "readiness" "/readyz" "liveness" "/livez" }}
{{ $probe }}Probe:
  httpGet:
    path: {{ $path }}
    port: http-metrics
  {{- toYaml (index $.probes $probe) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Containers beside the first one. */}}
{{- define "wd.extraContainers" -}}
{{- with (index .root.Values .section).extraContainers }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* No version is in it: an upgrade of the chart alone replaces no pod. */}}
{{- define "wd.podMetadata" -}}
{{- $settings := fromYaml (include "wd.podSettings" .) -}}
{{- $fixed := merge (fromYaml (include "wd.selector" .)) (dict "app.kubernetes.io/part-of" "wootric-destination") -}}
labels:
  {{- toYaml (mergeOverwrite (deepCopy .root.Values.commonLabels) $settings.podLabels $fixed) | nindent 2 }}
{{- with (mergeOverwrite $settings.podAnnotations (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Metadata of a workload: with the section's annotations. */}}
{{- define "wd.workloadMetadata" -}}
{{- include "wd.metadata" (merge (dict "annotations" (index .root.Values .section).annotations) .) -}}
{{- end -}}

{{/* A Job that runs before install and upgrade. It uses what exists already: no secret and no
     service account of this release. A pod, and weight. */}}
{{- define "wd.hookJob" -}}
{{- $hooks := .root.Values.hooks -}}
{{- $pod := merge (dict "section" "hooks" "resources" $hooks.resources) . -}}
{{- $own := dict "helm.sh/hook" "pre-install,pre-upgrade" "helm.sh/hook-weight" .weight "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "wd.metadata" (merge (dict "suffix" .component "annotations" (merge $own $hooks.annotations)) .) | nindent 2 }}
spec:
  backoffLimit: {{ $hooks.backoffLimit }}
  activeDeadlineSeconds: {{ $hooks.activeDeadlineSeconds }}
  template:
    metadata:
      {{- include "wd.podMetadata" $pod | nindent 6 }}
    spec:
      restartPolicy: Never
      {{- include "wd.podSpec" $pod | nindent 6 }}
      containers:
        - name: {{ .component }}
          {{- include "wd.container" $pod | nindent 10 }}
          env:
            {{- include "wd.env" $pod | nindent 12 }}
        {{- include "wd.extraContainers" $pod | nindent 8 }}
{{- end -}}
