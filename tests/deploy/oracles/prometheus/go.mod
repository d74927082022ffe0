// promtool of Prometheus 3.13.5, which has no module of its own to install. Built by tests/deploy/oracles.py from hashed modules.
module headrace/oracles/prometheus

go 1.26.0

require github.com/prometheus/prometheus v0.313.5

// As in Prometheus's own go.mod.
replace cloud.google.com/go => cloud.google.com/go v0.123.0

exclude (
	github.com/grpc-ecosystem/grpc-gateway v1.14.7
	github.com/linode/linodego v1.0.0
	google.golang.org/api v0.30.0
)
