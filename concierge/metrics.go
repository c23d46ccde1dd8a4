package concierge

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are the server's metrics. No label names an account, a queue or an
// address of anybody.
type figures struct {
	appends  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	knocks   prometheus.Counter
	packages *prometheus.CounterVec
	sessions *prometheus.CounterVec
	ended    prometheus.Counter
	tokens   *prometheus.CounterVec
	tickets  *prometheus.CounterVec

	uploads     *prometheus.CounterVec
	downloads   prometheus.Counter
	expired     prometheus.Counter
	tunnels     *prometheus.CounterVec
	tunnelBytes prometheus.Counter
	gateway     *prometheus.CounterVec
	mediaBytes  atomic.Uint64 // as the last look at all files found them
	mediaFiles  atomic.Uint64
}

func newFigures(r *prometheus.Registry, connections func() int) *figures {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "confab", Subsystem: "concierge", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	f := &figures{
		appends:  count("appends_total", "Messages that writers sent, by what became of them.", "result"),
		refused:  count("refused_total", "Requests that a limit refused, by the limit.", "limit"),
		packages: count("packages_total", "Key packages given out: for one use, or of last resort.", "kind"),
		sessions: count("sessions_total", "Handshakes, by how they ended.", "result"),
		tokens:   count("tokens_total", "Tokens for knocks, by what was done with them.", "result"),
		tickets:  count("tickets_total", "Requests for tickets for registrations, by what became of them.", "result"),
		knocks:   count("knocks_total", "Knocks admitted.").WithLabelValues(),
		ended:    count("ended_total", "Connections ended because their device is not listed any more.").WithLabelValues(),
	}
	f.uploads = count("media_uploads_total", "Uploads of files, by what became of them.", "result")
	f.downloads = count("media_downloads_total", "Files or parts of files that were asked for.").WithLabelValues()
	f.expired = count("media_expired_total", "Files let go of because nobody pins them any more.").WithLabelValues()
	f.tunnels = count("tunnels_total", "Tunnels to other services, by how they ended.", "result")
	f.tunnelBytes = count("tunnel_bytes_total", "Bytes that tunnels carried, both directions together.").WithLabelValues()
	f.gateway = count("gateway_requests_total", "Questions about the chain, by how they were answered.", "result")
	for name, v := range map[string]*atomic.Uint64{"media_bytes": &f.mediaBytes, "media_files": &f.mediaFiles} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "confab", Subsystem: "concierge", Name: name, Help: "Files that are kept, as counted at the last look at all of them.",
		}, func() float64 { return float64(v.Load()) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "confab", Subsystem: "concierge", Name: "connections", Help: "Connections now.",
	}, func() float64 { return float64(connections()) }))
	return f
}
