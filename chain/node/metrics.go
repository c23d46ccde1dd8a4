package node

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/confab-chat/confab/namesvc/wire"
)

// figure is one of the node's own figures for Prometheus.
type figure struct {
	desc *prometheus.Desc
	of   func(Report) float64
}

// figures are what an operator watches; CometBFT's own come beside them.
type figures struct {
	report func() Report
	list   []figure
}

func newFigures(report func() Report) figures {
	f := figures{report: report}
	for _, g := range []struct {
		name, help string
		of         func(Report) float64
	}{
		{"height", "Height of the newest block.", func(r Report) float64 { return float64(r.Height) }},
		{"block_age_seconds", "Age of the newest block by this machine's clock. Above 60 the chain has stopped or this node lags.", func(r Report) float64 { return float64(r.AgeSeconds) }},
		{"catching_up", "1 while the node fetches blocks and does not vote.", func(r Report) float64 { return one(r.CatchingUp) }},
		{"peers", "Connected peers.", func(r Report) float64 { return float64(r.Peers) }},
		{"waiting_ops", "Ops in the mempool.", func(r Report) float64 { return float64(r.Waiting) }},
		{"power", "Power of this validator, 0 if it is none.", func(r Report) float64 { return float64(r.Power) }},
		{"total_power", "Power of all validators.", func(r Report) float64 { return float64(r.TotalPower) }},
		{"signed", "1 if this validator's vote is in the newest commit.", func(r Report) float64 { return one(r.Signed) }},
		{"checkpoint", "Number of the newest checkpoint.", func(r Report) float64 { return float64(r.Checkpoint) }},
		{"checkpoint_sealed", "Number of the newest checkpoint whose seals are here.", func(r Report) float64 { return float64(r.Sealed) }},
		{"history_from", "First block whose ops and receipts are here; 1 for all.", func(r Report) float64 { return float64(r.HistoryFrom) }},
		{"snapshots", "Snapshots that others can join by.", func(r Report) float64 { return float64(len(r.Snapshots)) }},
		{"disk_bytes", "Bytes of the data folder.", func(r Report) float64 { return float64(r.DiskBytes) }},
	} {
		f.list = append(f.list, figure{prometheus.NewDesc("confab_"+g.name, g.help, nil, nil), g.of})
	}
	return f
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (f figures) Describe(out chan<- *prometheus.Desc) {
	for _, g := range f.list {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (f figures) Collect(out chan<- prometheus.Metric) {
	r := f.report()
	for _, g := range f.list {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.of(r))
	}
}

// registerWith makes what registers itself, as CometBFT does while it is put
// together, register with r until the function that it returns is called. Else a
// second node in one process, or a second time, would be one too many.
func registerWith(r prometheus.Registerer) (end func()) {
	before := prometheus.DefaultRegisterer
	prometheus.DefaultRegisterer = r
	return func() { prometheus.DefaultRegisterer = before }
}

// listenMetrics opens the port for Prometheus, if the configuration names one.
func (n *Node) listenMetrics() error {
	if n.config.Metrics.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", n.config.Metrics.Listen)
	if err != nil {
		return wire.Errorf(wire.Unavailable, "metrics.listen: %w; change the port in %s", err, ConfigFile)
	}
	n.metrics = limit(l, maxScrapers)
	return nil
}

// maxScrapers bounds the connections to the port for Prometheus.
const maxScrapers = 16

// serveMetrics answers Prometheus until the context ends.
func (n *Node) serveMetrics(ctx context.Context) {
	own := prometheus.NewRegistry()
	own.MustRegister(newFigures(n.Report))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{own, n.data.figures, prometheus.DefaultGatherer}, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapers, Timeout: 10 * time.Second,
	}))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second,
		IdleTimeout: time.Minute,
	}
	if err := serveUntil(ctx, server, n.metrics); err != nil {
		n.logger.Warn("metrics are served no more", "err", err)
	}
}

// MetricsAddr returns the address that Prometheus can ask, "" if there is none.
func (n *Node) MetricsAddr() string {
	if n.metrics == nil {
		return ""
	}
	return n.metrics.Addr().String()
}
