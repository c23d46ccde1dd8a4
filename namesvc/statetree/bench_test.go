//go:build unix

package statetree_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/celestiaorg/smt"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// The benchmarks measure this tree and celestiaorg/smt in turns, both in memory,
// so that the database is not part of it. Each prints processor time of both and
// their ratio:
//
//	go test -run xxx -bench . ./namesvc/statetree

// What is measured with: bytes in a value, about those of an entry, and updates
// in a block.
const (
	benchValue = 300
	benchBatch = 1000
)

// benchSizes returns how many names there are.
func benchSizes() []int {
	if os.Getenv("CONFAB_LONG") == "1" {
		return []int{1_000, 100_000, 1_000_000}
	}
	return []int{1_000, 100_000}
}

// cpu returns the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchPair is both trees with the same names.
type benchPair struct {
	*testing.B
	ours         *statetree.Mem
	theirs       *smt.SparseMerkleTree
	names        int
	spent, their time.Duration
}

func benchName(i int) []byte { return fmt.Appendf(nil, "handle/%d", i) }

// run times both in turns, in portions large enough for the clock of the
// process, and reports what one of n in a portion takes. Each turn begins with
// no garbage of the other's to collect.
func (p *benchPair) run(unit string, n int, next, ours, theirs func()) {
	turn := func(f func()) time.Duration {
		runtime.GC()
		start := cpu()
		f()
		return cpu() - start
	}
	for range p.N {
		next()
		p.spent += turn(ours)
		p.their += turn(theirs)
	}
	each := float64(p.N * n)
	p.ReportMetric(0, "ns/op")
	p.ReportMetric(float64(p.spent.Nanoseconds())/each, "ours-cpu-ns/"+unit)
	p.ReportMetric(float64(p.their.Nanoseconds())/each, "celestia-cpu-ns/"+unit)
	p.ReportMetric(float64(p.their)/float64(p.spent), "celestia/ours")
}

// benchTrees calls f for each size with both trees filled.
func benchTrees(b *testing.B, f func(p *benchPair)) {
	for _, n := range benchSizes() {
		var ours *statetree.Mem
		var theirs *smt.SparseMerkleTree
		b.Run(fmt.Sprintf("names=%d", n), func(b *testing.B) {
			if ours == nil { // once, however often b.N grows
				ours, theirs = fillBoth(b, n)
			}
			f(&benchPair{B: b, ours: ours, theirs: theirs, names: n})
		})
	}
}

func fillBoth(b *testing.B, n int) (*statetree.Mem, *smt.SparseMerkleTree) {
	b.Helper()
	r, ours := newRand(1), statetree.NewMem()
	theirs := smt.NewSparseMerkleTree(smt.NewSimpleMap(), smt.NewSimpleMap(), sha256.New())
	for i := 0; i < n; {
		var batch []statetree.Change
		for range min(10_000, n-i) {
			v := randomBytes(r, benchValue)
			batch = append(batch, statetree.Change{Key: sha256.Sum256(benchName(i)), Value: v})
			if _, err := theirs.Update(benchName(i), v); err != nil {
				b.Fatal(err)
			}
			i++
		}
		mustUpdate(b, ours, sorted(batch))
	}
	if root := ours.Root(); string(root[:]) != string(theirs.Root()) {
		b.Fatal("the trees differ")
	}
	return ours, theirs
}

// BenchmarkUpdate is a block of 1,000 updates of random names.
func BenchmarkUpdate(b *testing.B) {
	benchTrees(b, func(p *benchPair) {
		r := newRand(2)
		var batch []statetree.Change
		var names [][]byte
		p.run("update", min(benchBatch, p.names), func() {
			seen := make(map[int]bool)
			batch, names = nil, nil
			for len(seen) < min(benchBatch, p.names) {
				i := r.IntN(p.names)
				if seen[i] {
					continue
				}
				seen[i] = true
				names = append(names, benchName(i))
				batch = append(batch, statetree.Change{Key: sha256.Sum256(benchName(i)), Value: randomBytes(r, benchValue)})
			}
		}, func() {
			mustUpdate(p.B, p.ours, sorted(append([]statetree.Change(nil), batch...)))
		}, func() {
			for i, c := range batch {
				if _, err := p.theirs.Update(names[i], c.Value); err != nil {
					p.Fatal(err)
				}
			}
		})
	})
}

// benchProofs is how many proofs a turn makes or checks.
const benchProofs = 1000

// BenchmarkProve makes proofs of random names in their wire form.
func BenchmarkProve(b *testing.B) {
	benchTrees(b, func(p *benchPair) {
		r, size := newRand(3), 0
		p.run("proof", benchProofs, func() {}, func() {
			for range benchProofs {
				proof, err := p.ours.Prove(sha256.Sum256(benchName(r.IntN(p.names))))
				if err != nil {
					p.Fatal(err)
				}
				wire, err := proof.MarshalBinary()
				if err != nil {
					p.Fatal(err)
				}
				size += len(wire)
			}
		}, func() {
			for range benchProofs {
				if _, err := p.theirs.ProveCompact(benchName(r.IntN(p.names))); err != nil {
					p.Fatal(err)
				}
			}
		})
		p.ReportMetric(float64(size)/float64(p.N*benchProofs), "B/proof")
	})
}

// BenchmarkVerify reads and checks proofs of random names.
func BenchmarkVerify(b *testing.B) { benchmarkVerify(b, false) }

// BenchmarkVerifyAbsent does so for names that are not there.
func BenchmarkVerifyAbsent(b *testing.B) { benchmarkVerify(b, true) }

func benchmarkVerify(b *testing.B, absent bool) {
	benchTrees(b, func(p *benchPair) {
		r, root := newRand(4), p.ours.Root()
		type proof struct {
			name, value, wire []byte
			theirs            smt.SparseCompactMerkleProof
		}
		proofs := make([]proof, benchProofs)
		size := 0
		for i := range proofs {
			name := benchName(r.IntN(p.names))
			if absent {
				name = fmt.Appendf(nil, "absent/%d", i)
			}
			k := keyOf(string(name))
			value, _ := p.ours.Get(k)
			ours, err := p.ours.Prove(k)
			if err != nil {
				p.Fatal(err)
			}
			wire, _ := ours.MarshalBinary()
			theirs, err := p.theirs.ProveCompact(name)
			if err != nil {
				p.Fatal(err)
			}
			proofs[i] = proof{name, value, wire, theirs}
			size += len(wire)
		}
		p.run("proof", benchProofs, func() {}, func() {
			for i := range proofs {
				x := &proofs[i]
				proof, err := statetree.UnmarshalProof(x.wire)
				if err == nil && absent {
					err = statetree.VerifyAbsent(root, sha256.Sum256(x.name), proof)
				} else if err == nil {
					err = statetree.Verify(root, sha256.Sum256(x.name), x.value, proof)
				}
				if err != nil {
					p.Fatal(err)
				}
			}
		}, func() {
			for i := range proofs {
				x := &proofs[i]
				if !smt.VerifyCompactProof(x.theirs, root[:], x.name, x.value, sha256.New()) {
					p.Fatal("celestiaorg/smt refuses its own proof")
				}
			}
		})
		p.ReportMetric(float64(size)/benchProofs, "B/proof")
	})
}
