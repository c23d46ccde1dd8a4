//go:build unix

package store_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// What the benchmarks measure with: bytes in a value, about those of an entry,
// and updates in a block.
const (
	benchValue = 300
	benchBlock = 1000
)

func benchSizes() []int {
	if os.Getenv("CONFAB_LONG") == "1" {
		return []int{1_000, 100_000, 1_000_000}
	}
	return []int{1_000, 100_000}
}

// cpu returns the processor time that the whole process has used: compactions
// and the collector are part of what a block costs.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type bench struct {
	*store.Store
	*rand.ChaCha8
	names  int
	height uint64
}

// openBench makes a store on disk that holds so many names.
func openBench(b *testing.B, names int) *bench {
	b.Helper()
	s, err := store.Open(b.TempDir(), store.Options{Chain: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	x := &bench{Store: s, ChaCha8: rand.NewChaCha8([32]byte{1}), names: names}
	for at := 0; at < names; {
		changes := make(map[statetree.Key][]byte)
		for range min(10_000, names-at) {
			changes[benchKey(at)] = x.value()
			at++
		}
		x.commit(b, asBatch(changes))
	}
	return x
}

func benchKey(i int) statetree.Key { return sha256.Sum256(fmt.Appendf(nil, "handle/%d", i)) }

func (x *bench) value() []byte {
	v := make([]byte, benchValue)
	x.Read(v)
	return v
}

func (x *bench) pick() statetree.Key { return benchKey(int(x.Uint64() % uint64(x.names))) }

// block returns updates of random names.
func (x *bench) block() []statetree.Change {
	changes := make(map[statetree.Key][]byte)
	for len(changes) < min(benchBlock, x.names) {
		changes[x.pick()] = x.value()
	}
	return asBatch(changes)
}

func (x *bench) commit(b *testing.B, changes []statetree.Change) {
	x.height++
	p, err := x.Prepare(x.height, changes)
	if err == nil {
		err = p.Commit(store.Also{})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBlock is a block of 1,000 updates of random names, each read before
// it is changed, durable, with 100 heights kept: b.N should be some hundreds, so that heights leave the window.
func BenchmarkBlock(b *testing.B) {
	for _, names := range benchSizes() {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			x := openBench(b, names)
			var used time.Duration
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				changes := x.block()
				b.StartTimer()
				before := cpu()
				for i := range changes {
					if v, err := x.Get(changes[i].Key); err != nil || v == nil {
						b.Fatal(v, err)
					}
				}
				x.commit(b, changes)
				used += cpu() - before
			}
			b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/block")
		})
	}
}

// BenchmarkProof is what a server does for one look-up: value and proof of a
// random name at the height before the newest, encoded. Its baseline is to read
// the value alone.
func BenchmarkProof(all *testing.B) {
	for _, names := range benchSizes() {
		var x *bench
		all.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			if x == nil { // once, however often b.N grows
				x = openBench(all, names)
				for range 20 {
					x.commit(b, x.block())
				}
			}
			r, err := x.At(x.height - 1)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			read := func() statetree.Key {
				k := x.pick()
				if v, err := r.Get(k); err != nil || v == nil {
					b.Fatal(v, err)
				}
				return k
			}
			prove := func() {
				p, err := r.Prove(read())
				if err == nil {
					_, err = p.MarshalBinary()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			time := func(f func()) float64 {
				start := cpu()
				for range b.N {
					f()
				}
				return float64(cpu()-start) / float64(b.N)
			}
			for range min(names, 20_000) {
				prove() // warms Pebble's cache
			}
			b.ReportAllocs()
			b.ResetTimer()
			proof := time(func() { prove() })
			value := time(func() { read() })
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(proof/1000, "cpu-us/proof")
			b.ReportMetric(1e9/proof, "proofs/s-and-core")
			b.ReportMetric(proof/value, "proof/read")
		})
	}
}
