// Read by tests/deploy/operator_kinds.py. No Go program imports these modules, so `go mod tidy` would remove them.
module operators

go 1.26.0

require (
	github.com/cilium/cilium v1.20.2
	github.com/external-secrets/external-secrets v1.3.2
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
