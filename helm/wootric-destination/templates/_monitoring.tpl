{{/* What a PodMonitor and a ServiceMonitor say of an endpoint: monitor (its values), bearerToken. */}}
{{- define "wd.endpoint" -}}
port: http-metrics
path: /metrics
interval: {{ .monitor.interval }}
{{- with .bearerToken }}
{{- if .existingSecret }}
authorization:
  type: Bearer
  credentials:
    name: {{ .existingSecret }}
    key: {{ .key }}
{{- end }}
{{- end }}
{{- with .monitor }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if .honorLabels }}
honorLabels: true
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
