package statetree_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"github.com/celestiaorg/smt"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// Sizes of the benchmarks: names in the tree, bytes in a value (about those of
// an entry), updates in a block.
const (
	benchValue = 300
	benchBatch = 1000
)

func benchSizes() []int {
	sizes := []int{1_000, 100_000}
	if os.Getenv("CONFAB_LONG") == "1" {
		sizes = append(sizes, 1_000_000)
	}
	return sizes
}

func benchName(i int) []byte { return fmt.Appendf(nil, "handle/%d", i) }

// benchTree fills a tree with n names.
func benchTree(b *testing.B, n int) *statetree.Mem {
	b.Helper()
	r := newRand(1)
	tree := statetree.NewMem()
	for i := 0; i < n; {
		var batch []statetree.Change
		for range min(10_000, n-i) {
			batch = append(batch, statetree.Change{Key: sha256.Sum256(benchName(i)), Value: randomBytes(r, benchValue)})
			i++
		}
		mustUpdate(b, tree, sorted(batch))
	}
	return tree
}

// BenchmarkUpdate is a block of 1,000 updates of random names, in memory: the
// cost of the tree without a database. The baseline is celestiaorg/smt on maps.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("names=%d/ours", n), func(b *testing.B) {
			tree, r := benchTree(b, n), newRand(2)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				batch := benchChanges(r.IntN, n)
				b.StartTimer()
				mustUpdate(b, tree, batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/update")
		})
		b.Run(fmt.Sprintf("names=%d/celestia", n), func(b *testing.B) {
			tree, r := benchCelestia(b, n), newRand(2)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for range benchBatch {
					if _, err := tree.Update(benchName(r.IntN(n)), randomBytes(r, benchValue)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/update")
		})
	}
}

func benchChanges(intN func(int) int, n int) []statetree.Change {
	r := newRand(uint64(intN(1 << 30)))
	seen := make(map[key]bool)
	var batch []statetree.Change
	for range benchBatch {
		k := key(sha256.Sum256(benchName(r.IntN(n))))
		if !seen[k] {
			seen[k] = true
			batch = append(batch, statetree.Change{Key: k, Value: randomBytes(r, benchValue)})
		}
	}
	return sorted(batch)
}

func benchCelestia(b *testing.B, n int) *smt.SparseMerkleTree {
	b.Helper()
	r := newRand(1)
	tree := smt.NewSparseMerkleTree(smt.NewSimpleMap(), smt.NewSimpleMap(), sha256.New())
	for i := range n {
		if _, err := tree.Update(benchName(i), randomBytes(r, benchValue)); err != nil {
			b.Fatal(err)
		}
	}
	return tree
}

func BenchmarkProve(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("names=%d/ours", n), func(b *testing.B) {
			tree := benchTree(b, n)
			bytes := 0
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				p, err := tree.Prove(sha256.Sum256(benchName(i % n)))
				if err != nil {
					b.Fatal(err)
				}
				wire, _ := p.MarshalBinary()
				bytes += len(wire)
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "B/proof")
		})
		b.Run(fmt.Sprintf("names=%d/celestia", n), func(b *testing.B) {
			tree := benchCelestia(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := tree.ProveCompact(benchName(i % n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range benchSizes() {
		tree := benchTree(b, n)
		root, k := tree.Root(), key(sha256.Sum256(benchName(1)))
		v, _ := tree.Get(k)
		p, _ := tree.Prove(k)
		wire, _ := p.MarshalBinary()
		b.Run(fmt.Sprintf("names=%d/ours", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				p, err := statetree.UnmarshalProof(wire)
				if err == nil {
					err = statetree.Verify(root, k, v, p)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		k[31] ^= 1
		p, _ = tree.Prove(k)
		b.Run(fmt.Sprintf("names=%d/ours-absent", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if err := statetree.VerifyAbsent(root, k, p); err != nil {
					b.Fatal(err)
				}
			}
		})
		theirs := theirForm(p)
		theirs.NonMembershipLeafData = nil
		b.Run(fmt.Sprintf("names=%d/celestia", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if !smt.VerifyProof(theirs, root[:], benchName(1), v, sha256.New()) {
					b.Fatal("refused")
				}
			}
		})
	}
}
