package chain_test

import (
	"context"
	"os"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
)

// BenchmarkSnapshot makes, gives out and takes a snapshot of 100,000 leaves of some
// 230 bytes, or of two million, the leaves of a million names, with CONFAB_LONG=1.
func BenchmarkSnapshot(b *testing.B) {
	leaves := 100_000
	if os.Getenv("CONFAB_LONG") == "1" {
		leaves = 2_000_000
	}
	p := testParams()
	p.Checkpoint = testInterval
	m := newMachine(b, p)
	m.twin = nil
	r := &relay{t: b, params: p, headers: map[uint64]verify.Header{}}
	r.block([]*chain.App{m.app})
	r.fill(m, leaves)
	m.app.KeepSnapshots(chain.SnapshotPolicy{Every: 1, Keep: 1})
	for r.height < 5 {
		r.block([]*chain.App{m.app})
	}
	for b.Loop() {
		begun := time.Now()
		going, leave := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { m.app.MakeSnapshots(going); close(done) }()
		for len(m.app.Snapshots()) == 0 {
			time.Sleep(time.Millisecond)
		}
		leave()
		<-done
		made := time.Since(begun)
		s := m.offered(b)
		taker := newcomer(b, r)
		if got := taker.offer(b, s, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
			b.Fatal(got)
		}
		var given, taken time.Duration
		bytes := 0
		for i := range s.Chunks {
			begun = time.Now()
			c := m.chunk(b, s, i)
			given += time.Since(begun)
			bytes += len(c)
			begun = time.Now()
			if got := taker.apply(b, i, c).Result; got != abci.ResponseApplySnapshotChunk_ACCEPT {
				b.Fatal(got)
			}
			taken += time.Since(begun)
		}
		b.ReportMetric(made.Seconds(), "s/make")
		b.ReportMetric(given.Seconds(), "s/give")
		b.ReportMetric(taken.Seconds(), "s/take")
		b.ReportMetric(float64(bytes), "bytes")
		b.ReportMetric(float64(s.Chunks), "chunks")
		m.restart(b) // forgets the manifest
	}
}
