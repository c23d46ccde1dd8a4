package chain_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// What a long run asserts, as times a plain copy of the same leaves takes on the same
// machine at the same time. Making and giving hash and encode; who takes builds the
// tree.
const (
	mostMaking = 4
	mostGiving = 6
	mostTaking = 30
)

// plainCopy reads all leaves of the newest state and writes them into a database of
// its own, in memory like those of the benchmark, without a tree over them.
func plainCopy(b *testing.B, m *machine) time.Duration {
	b.Helper()
	begun := time.Now()
	r, err := m.store.At(m.store.State().Height)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), MemTableSize: 64 << 20, Logger: silent{}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	batch := db.NewBatch()
	err = r.Leaves(statetree.Key{}, func(k statetree.Key, value []byte) error {
		if err := batch.Set(k[:], value, nil); err != nil || batch.Len() < 4<<20 {
			return err
		}
		defer batch.Reset()
		return batch.Commit(pebble.NoSync)
	})
	if err == nil {
		err = batch.Commit(pebble.Sync)
	}
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

// silent is a database's log that says nothing.
type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, _ ...any) { panic(format) }

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
		plain := plainCopy(b, m)
		for _, at := range []struct {
			what string
			took time.Duration
			most float64
		}{{"make", made, mostMaking}, {"give", given, mostGiving}, {"take", taken, mostTaking}} {
			ratio := at.took.Seconds() / plain.Seconds()
			b.ReportMetric(ratio, at.what+"/copy")
			if os.Getenv("CONFAB_LONG") == "1" && ratio > at.most {
				b.Errorf("to %s it takes %.1f times what a plain copy does, at most %.0f are promised", at.what, ratio, at.most)
			}
		}
		b.ReportMetric(made.Seconds(), "s/make")
		b.ReportMetric(given.Seconds(), "s/give")
		b.ReportMetric(taken.Seconds(), "s/take")
		b.ReportMetric(float64(bytes), "bytes")
		b.ReportMetric(float64(s.Chunks), "chunks")
		m.restart(b) // forgets the manifest
	}
}
