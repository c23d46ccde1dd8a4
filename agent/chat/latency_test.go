package chat

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkLatency is how long a message takes from Send to the other's follower:
// both agents, both disks, two concierges over TLS. It reports the median and the
// 99th percentile; ns/op is one message with its receipt awaited.
func BenchmarkLatency(b *testing.B) {
	w := newWorld(b)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	notices, stop := bob.Follow(bob.Latest())
	defer stop()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		text := fmt.Sprint("message ", i)
		start := time.Now()
		alice.say(bob, text)
		for n := range notices {
			if n.Type == "message" && n.Message.Text == text {
				break
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "ms-p50")
	b.ReportMetric(at(0.99), "ms-p99")
}
