package concierge

import (
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
		knocks:   count("knocks_total", "Knocks admitted.").WithLabelValues(),
		ended:    count("ended_total", "Connections ended because their device is not listed any more.").WithLabelValues(),
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "confab", Subsystem: "concierge", Name: "connections", Help: "Connections now.",
	}, func() float64 { return float64(connections()) }))
	return f
}
