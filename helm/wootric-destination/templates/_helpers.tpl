{{/* Names */}}

{{- define "wd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "wd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "wd.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "wd.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "wd.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "wd.image" -}}
{{- $image := .Values.image -}}
{{- with coalesce .Values.global.imageRegistry $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{- define "wd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "wd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "wd.wootricSecret" -}}
{{- default (printf "%s-wootric" (include "wd.fullname" .)) .Values.wootric.existingSecret -}}
{{- end -}}

{{/* Labels. Selectors never change: they name the release and the component, no version. */}}

{{- define "wd.selector" -}}
app.kubernetes.io/name: {{ include "wd.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "wd.labels" -}}
{{- $fixed := fromYaml (include "wd.selector" .) -}}
{{- $ours := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/part-of" "wootric-destination" "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.commonLabels) $ours $fixed) -}}
{{- end -}}

{{/* Metadata of an object: root, component, suffix or name, annotations, labels. */}}
{{- define "wd.metadata" -}}
name: {{ if .name }}{{ .name }}{{ else }}{{ include "wd.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}{{ end }}
namespace: {{ default (include "wd.namespace" .root) .namespace }}
labels:
  {{- toYaml (mergeOverwrite (deepCopy (default dict .labels)) (fromYaml (include "wd.labels" .))) | nindent 2 }}
{{- with (mergeOverwrite (deepCopy .root.Values.commonAnnotations) (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Address families of a Service. */}}
{{- define "wd.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Numbers arrive as floats from files: 1000000 must not become 1e+06. */}}
{{- define "wd.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- . | toString -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a pod may need to leave: what is under way, its transaction, and some margin. */}}
{{- define "wd.grace" -}}
{{- $request := default 10 (index .Values.settings "WOOTRIC__REQUEST_TIMEOUT_S") | float64 -}}
{{- $transaction := default 10 (index .Values.settings "KAFKA__TRANSACTION_TIMEOUT_S") | float64 -}}
{{- $needed := addf $request $transaction .Values.shutdown.marginSeconds | ceil | int -}}
{{- $wanted := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $wanted -}}
{{- $needed -}}
{{- else if lt (int $wanted) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but a worker may need %d s to leave: WOOTRIC__REQUEST_TIMEOUT_S + KAFKA__TRANSACTION_TIMEOUT_S + shutdown.marginSeconds. Leave it null, or lower those." (int $wanted) $needed) -}}
{{- else -}}
{{- int $wanted -}}
{{- end -}}
{{- end -}}

{{/* The doctor logs in at Wootric, and runs before a secret of this release exists. */}}
{{- define "wd.preflight" -}}
{{- $chosen := ternary (list "doctor" "--tolerate-outages") (list "topics" "check") (not (empty .Values.wootric.existingSecret)) -}}
{{- toYaml (default $chosen .Values.preflight.command) -}}
{{- end -}}

{{/* Kubernetes refuses a change of the claims in a StatefulSet. Only Helm in a cluster can look. */}}
{{- define "wd.validateState" -}}
{{- $name := include "wd.fullname" . -}}
{{- $namespace := include "wd.namespace" . -}}
{{- $existing := lookup "apps/v1" "StatefulSet" $namespace $name -}}
{{- if $existing -}}
{{- $claims := not (empty (dig "spec" "volumeClaimTemplates" list $existing)) -}}
{{- if ne $claims (eq .Values.state.kind "volume") -}}
{{- fail (printf "state.kind=%s changes the volume claims of the StatefulSet, which Kubernetes refuses. Run `kubectl -n %s delete statefulset %s --cascade=orphan`, which leaves the pods running, and repeat the upgrade" .Values.state.kind $namespace $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What cannot be said in the schema. */}}
{{- define "wd.validate" -}}
{{- include "wd.validateState" . -}}
{{- $kafka := .Values.kafka -}}
{{- $iam := eq (default "" (index .Values.settings "KAFKA__AUTH")) "aws_msk_iam" -}}
{{- include "wd.validateKafka" (dict "kafka" $kafka "where" "kafka" "iam" $iam) -}}
{{- range $login := list "worker" "bridge" "lagExporter" "topics" "toolbox" -}}
{{- include "wd.validateKafka" (dict "kafka" (fromYaml (include "wd.kafka" (dict "root" $ "login" $login))) "where" (printf "%s.kafka" $login) "iam" $iam) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (eq .Values.autoscaling.type "keda") (fromYaml (include "wd.kafka" (dict "root" . "login" "lagExporter"))).propertiesSecret.name -}}
{{- fail "KEDA cannot log in by kafka.propertiesSecret: set kafka.sasl and kafka.tls, or autoscaling.type=hpa" -}}
{{- end -}}
{{- $wootric := .Values.wootric -}}
{{- if and .Values.externalSecrets.enabled (or (not .Values.externalSecrets.storeRef.name) (not .Values.externalSecrets.remoteKey)) -}}
{{- fail "externalSecrets.storeRef.name and externalSecrets.remoteKey are required with externalSecrets.enabled" -}}
{{- end -}}
{{- if and .Values.externalSecrets.additional (not .Values.externalSecrets.storeRef.name) -}}
{{- fail "externalSecrets.storeRef.name is required with externalSecrets.additional" -}}
{{- end -}}
{{- if and .Values.externalSecrets.enabled $wootric.existingSecret -}}
{{- fail "externalSecrets creates the secret: leave wootric.existingSecret empty" -}}
{{- end -}}
{{- if not (or $wootric.existingSecret .Values.externalSecrets.enabled) -}}
{{- if not $wootric.accountToken -}}
{{- fail "wootric.existingSecret is required (or, for a trial, wootric.accountToken and credentials)" -}}
{{- end -}}
{{- if and (eq $wootric.auth "client") (not (and $wootric.clientId $wootric.clientSecret)) -}}
{{- fail "wootric.clientId and wootric.clientSecret are required without wootric.existingSecret" -}}
{{- end -}}
{{- if and (eq $wootric.auth "login") (not (and $wootric.username $wootric.password)) -}}
{{- fail "wootric.username and wootric.password are required without wootric.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.maxReplicas) (int $kafka.partitions) -}}
{{- fail (printf "autoscaling.maxReplicas is %d, but the input has %d partitions (kafka.partitions): more workers would be idle" (int .Values.autoscaling.maxReplicas) (int $kafka.partitions)) -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.bridge.enabled (not .Values.bridge.existingSecret) (not .Values.bridge.fromTopic) -}}
{{- fail "bridge.existingSecret is required with bridge.enabled: without it anyone could send events" -}}
{{- end -}}
{{- if and .Values.bridge.fromTopic (or .Values.bridge.ingress.enabled .Values.bridge.httpRoute.enabled) -}}
{{- fail "bridge.fromTopic replaces the webhook: disable bridge.ingress and bridge.httpRoute" -}}
{{- end -}}
{{- if eq .Values.bridge.fromTopic $kafka.topic -}}
{{- fail "bridge.fromTopic must name another topic than kafka.topic" -}}
{{- end -}}
{{- if and .Values.bridge.enabled .Values.bridge.ingress.enabled (not .Values.bridge.ingress.host) -}}
{{- fail "bridge.ingress.host is required with bridge.ingress.enabled" -}}
{{- end -}}
{{- if and .Values.bridge.enabled .Values.bridge.httpRoute.enabled (not .Values.bridge.httpRoute.parentRefs) -}}
{{- fail "bridge.httpRoute.parentRefs is required with bridge.httpRoute.enabled" -}}
{{- end -}}
{{- end -}}
