//go:build unix

package iavl

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cosmos/iavl"
	ics23 "github.com/cosmos/ics23/go"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// What is measured with: bytes in a value, about those of an entry, and updates
// in a block.
const (
	valueSize = 300
	blockSize = 1000
)

func sizes() []int {
	if os.Getenv("CONFAB_LONG") == "1" {
		return []int{1_000, 100_000, 1_000_000}
	}
	return []int{1_000, 100_000}
}

// A chain is a tree on disk, filled block by block.
type chain interface {
	// block reads each key and changes it, durably, and forgets all but the last
	// 100 heights.
	block(b *testing.B, changes []statetree.Change)
	// prove proves a key at the height before the newest, and verifies that.
	// It returns the size of the proof with the value.
	prove(b *testing.B, key statetree.Key) int
}

type ours struct {
	*store.Store
	reader *store.Reader
}

func openOurs(b *testing.B) chain {
	s, err := store.Open(b.TempDir(), store.Options{Chain: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return &ours{Store: s}
}

func (c *ours) block(b *testing.B, changes []statetree.Change) {
	for i := range changes {
		if _, err := c.Get(changes[i].Key); err != nil {
			b.Fatal(err)
		}
	}
	p, err := c.Prepare(c.State().Height+1, changes)
	if err == nil {
		err = p.Commit(store.Also{})
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (c *ours) prove(b *testing.B, key statetree.Key) int {
	if c.reader == nil {
		var err error
		if c.reader, err = c.At(c.State().Height - 1); err != nil {
			b.Fatal(err)
		}
	}
	value, err := c.reader.Get(key)
	if err != nil {
		b.Fatal(err)
	}
	p, err := c.reader.Prove(key)
	if err != nil {
		b.Fatal(err)
	}
	wire, err := p.MarshalBinary()
	if err == nil {
		err = statetree.Verify(c.reader.Root(), key, value, p)
	}
	if err != nil {
		b.Fatal(err)
	}
	return len(wire) + len(value)
}

type theirs struct {
	*iavl.MutableTree
	at *iavl.ImmutableTree
}

// openTheirs opens iavl as the Cosmos SDK does by default, but for what would
// only slow its updates down: its second copy of the leaves is off, and a block
// goes into one batch.
func openTheirs(b *testing.B) chain {
	return &theirs{MutableTree: iavl.NewMutableTree(openPebble(b), 781_250, true, iavl.NewNopLogger(),
		iavl.SyncOption(true), iavl.FlushThresholdOption(1<<30))}
}

func (c *theirs) block(b *testing.B, changes []statetree.Change) {
	for _, change := range changes {
		if _, err := c.Get(change.Key[:]); err != nil {
			b.Fatal(err)
		}
	}
	for _, change := range changes {
		if _, err := c.Set(change.Key[:], change.Value); err != nil {
			b.Fatal(err)
		}
	}
	_, version, err := c.SaveVersion()
	if err == nil && version > store.Window {
		err = c.DeleteVersionsTo(version - store.Window)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (c *theirs) prove(b *testing.B, key statetree.Key) int {
	if c.at == nil {
		var err error
		if c.at, err = c.GetImmutable(c.Version() - 1); err != nil {
			b.Fatal(err)
		}
	}
	p, err := c.at.GetMembershipProof(key[:])
	if err != nil {
		b.Fatal(err)
	}
	wire, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	if !ics23.VerifyMembership(ics23.IavlSpec, c.at.Hash(), p, key[:], p.GetExist().Value) {
		b.Fatal("iavl's own proof is refused")
	}
	return len(wire)
}

// A load makes the same keys and values for both.
type load struct {
	*rand.ChaCha8
	names int
}

func newLoad(names int) load { return load{rand.NewChaCha8([32]byte{1}), names} }

func (l load) key(i int) statetree.Key { return sha256.Sum256(fmt.Appendf(nil, "handle/%d", i)) }
func (l load) pick() statetree.Key     { return l.key(int(l.Uint64() % uint64(l.names))) }

func (l load) change(key statetree.Key) statetree.Change {
	v := make([]byte, valueSize)
	l.Read(v)
	return statetree.Change{Key: key, Value: v}
}

func (l load) fill(b *testing.B, c chain) {
	b.Helper()
	for at := 0; at < l.names; {
		var changes []statetree.Change
		for range min(10_000, l.names-at) {
			changes = append(changes, l.change(l.key(at)))
			at++
		}
		c.block(b, sorted(changes))
	}
}

func (l load) block() []statetree.Change {
	seen := make(map[statetree.Key]bool)
	var changes []statetree.Change
	for len(changes) < min(blockSize, l.names) {
		if k := l.pick(); !seen[k] {
			seen[k] = true
			changes = append(changes, l.change(k))
		}
	}
	return sorted(changes)
}

func sorted(changes []statetree.Change) []statetree.Change {
	slices.SortFunc(changes, func(a, b statetree.Change) int { return a.Key.Compare(b.Key) })
	return changes
}

// spent is processor time, of the whole process, and time on the wall.
type spent struct{ cpu, wall time.Duration }

func measure(f func()) spent {
	start, before := time.Now(), processorTime()
	f()
	return spent{processorTime() - before, time.Since(start)}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// floor asserts, in a long run, that iavl takes at least so many times what ours
// does.
func floor(b *testing.B, what string, ours, theirs, atLeast float64) {
	b.Helper()
	if got := theirs / ours; os.Getenv("CONFAB_LONG") == "1" && got < atLeast {
		b.Errorf("%s: iavl takes %.2f times what ours does, the floor is %.2f", what, got, atLeast)
	}
}

func report(b *testing.B, unit time.Duration, name string, n int, ours, theirs spent) {
	each := func(d time.Duration) float64 { return float64(d) / float64(unit) / float64(n) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each(ours.cpu), "ours-cpu-"+name)
	b.ReportMetric(each(theirs.cpu), "iavl-cpu-"+name)
	b.ReportMetric(each(ours.wall), "ours-wall-"+name)
	b.ReportMetric(each(theirs.wall), "iavl-wall-"+name)
	b.ReportMetric(float64(theirs.cpu)/float64(ours.cpu), "iavl/ours")
}

// BenchmarkBlock is a block of 1,000 updates of random names, each read before it
// is changed, durable, with the last 100 heights kept. A hundred blocks go before, so that heights leave.
func BenchmarkBlock(b *testing.B) {
	for _, names := range sizes() {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			run := func(c chain) (total spent) {
				l := newLoad(names)
				l.fill(b, c)
				for i := range b.N + store.Window {
					changes := l.block()
					one := measure(func() { c.block(b, changes) })
					if i >= store.Window {
						total.cpu += one.cpu
						total.wall += one.wall
					}
				}
				return total
			}
			ours, theirs := run(openOurs(b)), run(openTheirs(b))
			report(b, time.Millisecond, "ms/block", b.N, ours, theirs)
			// Measured 2.6, 8.9 and 6.8; the first block of a run is not one to judge by.
			if b.N >= 10 {
				floor(b, "CPU for a block", ours.cpu.Seconds(), theirs.cpu.Seconds(), 1.8)
			}
		})
	}
}

// BenchmarkProof is a proof of a random name at the height before the newest,
// made, encoded and verified.
func BenchmarkProof(b *testing.B) {
	for _, names := range sizes() {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			run := func(c chain) (spent, int) {
				l, bytes := newLoad(names), 0
				l.fill(b, c)
				for range 5 {
					c.block(b, l.block())
				}
				for range 2_000 {
					c.prove(b, l.pick())
				}
				total := measure(func() {
					for range b.N {
						bytes += c.prove(b, l.pick())
					}
				})
				return total, bytes
			}
			oursSpent, oursBytes := run(openOurs(b))
			theirSpent, theirBytes := run(openTheirs(b))
			report(b, time.Microsecond, "us/proof", b.N, oursSpent, theirSpent)
			b.ReportMetric(float64(oursBytes)/float64(b.N), "ours-B/proof")
			b.ReportMetric(float64(theirBytes)/float64(b.N), "iavl-B/proof")
			if b.N >= 1000 {
				floor(b, "CPU for a proof", oursSpent.cpu.Seconds(), theirSpent.cpu.Seconds(), 0.7)
				floor(b, "bytes of a proof", float64(oursBytes), float64(theirBytes), 1.1)
			}
		})
	}
}
