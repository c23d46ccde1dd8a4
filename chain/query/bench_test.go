package query_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// BenchmarkBundle measures how many lookups of a handle, proven under the newest
// head for a reader who knows an earlier one, a server answers for each second
// of CPU: the answer made and encoded, and the same over HTTP with the client in
// this process. The tree's own work, two proofs and two values, stands beside it.
func BenchmarkBundle(b *testing.B) {
	names := 100_000
	if os.Getenv("CONFAB_LONG") != "" {
		names = 1_000_000
	}
	s, handles := benchServer(b, names)
	// Most lookups are of few names: of those that the caches have room for.
	handles = handles[:min(len(handles), 10_000)]
	ask := func(i int) query.Ask { return query.Ask{Handle: handles[i%len(handles)], Known: 1} }

	for i := range handles {
		if _, err := s.Encoded(ask(i)); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	b.Run("made", func(b *testing.B) {
		size, n := 0, 0
		start := cpu()
		for b.Loop() {
			answer, err := s.Encoded(ask(n))
			if err != nil {
				b.Fatal(err)
			}
			size += len(answer)
			n++
		}
		spent := cpu() - start
		base := treeAlone(b, s.Store, handles, n)
		b.ReportMetric(float64(n)/spent.Seconds(), "proofs/cpu-s")
		b.ReportMetric(float64(size)/float64(n), "B/bundle")
		b.ReportMetric(spent.Seconds()/base.Seconds(), "ratio-to-tree")
		if rate := float64(n) / spent.Seconds(); os.Getenv("CONFAB_LONG") != "" && rate < 12_000 {
			b.Errorf("%.0f proofs for each second of CPU; the floor is 12,000", rate)
		}
	})
	b.Run("http", func(b *testing.B) {
		web := httptest.NewServer(s.Handler())
		defer web.Close()
		n := 0
		start := cpu()
		for b.Loop() {
			res, err := http.Get(fmt.Sprintf("%s/v1/bundle?handle=%s&known=1", web.URL, string(handles[n%len(handles)])))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
				b.Fatal(res.Status, err)
			}
			res.Body.Close()
			n++
		}
		b.ReportMetric(float64(n)/(cpu()-start).Seconds(), "proofs/cpu-s-with-client")
	})
}

// treeAlone is the CPU time of the reads and proofs that n lookups need.
func treeAlone(b *testing.B, s *store.Store, handles []namesvc.Handle, n int) time.Duration {
	b.Helper()
	start := cpu()
	for i := range n {
		r, err := s.At(s.State().Height)
		if err != nil {
			b.Fatal(err)
		}
		h := handles[i%len(handles)]
		for _, k := range []namesvc.Key{namesvc.HandleKey(h.Skeleton()), namesvc.AccountKey(accountOf(h))} {
			if _, err := r.Get(statetree.Key(k)); err != nil {
				b.Fatal(err)
			}
			if _, err := r.Prove(statetree.Key(k)); err != nil {
				b.Fatal(err)
			}
		}
		r.Close()
	}
	return cpu() - start
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func accountOf(h namesvc.Handle) namesvc.AccountID { return sha256.Sum256([]byte("account of " + h)) }

// benchServer returns a server over a store with this many names, whose heads
// are those of a made-up chain of four validators.
func benchServer(b *testing.B, names int) (*query.Server, []namesvc.Handle) {
	b.Helper()
	st, err := store.Open(b.TempDir(), store.Options{Chain: "confab-bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	device, err := key.NewDevice(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		b.Fatal(err)
	}
	var handles []namesvc.Handle
	var changes []statetree.Change
	for i := range names {
		h := namesvc.Handle(fmt.Sprintf("n%x", binary.BigEndian.AppendUint32(nil, uint32(i))))
		id := accountOf(h)
		e := namesvc.Entry{
			Version: 1, Account: id, Kind: namesvc.Person, Generation: 1, Seq: 1, LastOp: id, OpLog: [][32]byte{{1}},
			Roots: []key.Public{device.Public()}, NextRoot: make([]byte, 32),
			Handles: []namesvc.Lease{{Handle: h, Generation: 1}}, DeviceSeq: 1,
			Records: namesvc.Records{Concierges: []namesvc.Concierge{{Account: accountOf("somebody"), Generation: 1}}},
			Expires: 1 << 40, Lapses: 1 << 41,
		}
		leaf := namesvc.HandleLeaf{Version: 1, Account: id, Generation: 1, Handle: h}
		handles = append(handles, h)
		changes = append(changes,
			statetree.Change{Key: statetree.Key(namesvc.AccountKey(id)), Value: e.Encode()},
			statetree.Change{Key: statetree.Key(namesvc.HandleKey(h.Skeleton())), Value: leaf.Encode()})
	}
	changes = append(changes, statetree.Change{Key: statetree.Key(namesvc.ParamsKey()), Value: namesvc.DevParams("confab-bench").Encode()})
	changes = append(changes, statetree.Change{Key: statetree.Key(namesvc.RulesKey()), Value: wire.Encode(namesvc.InForce{Rules: namesvc.FirstRules})})
	slices.SortFunc(changes, func(x, y statetree.Change) int { return bytes.Compare(x.Key[:], y.Key[:]) })
	for height := uint64(1); len(changes) > 0; height++ {
		n := min(20_000, len(changes))
		p, err := st.Prepare(height, changes[:n])
		if err != nil {
			b.Fatal(err)
		}
		mark := store.Record{Key: []byte("mark"), Value: wire.Encode(chain.Mark{Height: height})}
		if err := p.Commit(store.Also{Records: []store.Record{mark}}); err != nil {
			b.Fatal(err)
		}
		changes = changes[n:]
	}
	rand.Shuffle(len(handles), func(i, j int) { handles[i], handles[j] = handles[j], handles[i] })
	c := fakechain.New(fakechain.Spec{})
	for c.Height() < st.State().Height+1 {
		c.Skip(1)
	}
	logger := slog.New(slog.DiscardHandler)
	app, err := chain.New(st, "confab-bench", logger)
	if err != nil {
		b.Fatal(err)
	}
	return &query.Server{Chain: "confab-bench", App: app, Store: st, Heads: madeUp{c, st.State().Height + 1}, Logger: logger}, handles
}

// madeUp gives out a made-up chain's heads.
type madeUp struct {
	c      *fakechain.Chain
	newest uint64
}

func (m madeUp) Newest() uint64 { return m.newest }

func (m madeUp) Head(height uint64) (verify.Head, verify.Validators, error) {
	head, set := m.c.Head(height)
	return head, set.Validators, nil
}
