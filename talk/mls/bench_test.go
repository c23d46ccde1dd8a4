//go:build unix

package mls

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// meter reports the process's own time beside the clock's: what other programs
// on the machine do does not count.
type meter struct {
	b        *testing.B
	n        int
	used, at time.Duration
}

func newMeter(b *testing.B) *meter {
	b.ReportAllocs()
	return &meter{b: b, at: cpuTime()}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *meter) pause()  { m.used += cpuTime() - m.at }
func (m *meter) resume() { m.at = cpuTime() }

// loop goes around b.Loop.
func (m *meter) loop() bool {
	if m.n == 0 {
		m.used, m.at = 0, cpuTime()
	}
	if m.b.Loop() {
		m.n++
		return true
	}
	m.pause()
	m.b.ReportMetric(float64(m.used.Nanoseconds())/float64(m.n), "cpu-ns/op")
	return false
}

// benchSizes are the group sizes measured. 10,000 takes minutes to set up.
func benchSizes() []int {
	if os.Getenv("CONFAB_LONG") != "" {
		return []int{2, 10, 100, 1000, 10000}
	}
	return []int{2, 10, 100, 1000}
}

func benchSigner(i int) ed25519.PrivateKey {
	seed := make([]byte, 32)
	binary.BigEndian.PutUint32(seed, uint32(i+1))
	return ed25519.NewKeyFromSeed(seed)
}

// benchGroup is a group of n seen by its founder and by its last member. cold:
// all were added in one commit. warm: every member has renewed its keys since,
// which here means that every parent has a key.
type benchGroup struct {
	n             int
	founder, last *Group
	offers        []*KeyPackage
	secrets       []*KeyPackageSecrets
	welcome       []byte
}

func newBenchGroup(b testing.TB, n int, warm bool) *benchGroup {
	b.Helper()
	rand := testRand(1)
	s := &benchGroup{n: n}
	var o CommitOptions
	for i := 1; i < n; i++ {
		k, sec, err := NewKeyPackage(rand, X25519AES128, benchSigner(i), LeafTemplate{Credential: BasicCredential(fmt.Appendf(nil, "member-%06d", i))}, Lifetime{0, 1 << 40})
		noError(b, err)
		s.offers, s.secrets = append(s.offers, k), append(s.secrets, sec)
		o.Proposals = append(o.Proposals, AddProposal(k))
	}
	s.founder = s.create(b)
	out, err := s.founder.Commit(rand, o)
	noError(b, err)
	noError(b, s.founder.Merge(out.Staged))
	s.welcome = out.Welcome
	if warm {
		s.warm(b)
	}
	s.last = s.join(b, s.welcome, n-1)
	return s
}

func (s *benchGroup) create(b testing.TB) *Group {
	g, err := Create(testRand(2), X25519AES128, []byte("bench"), benchSigner(0), LeafTemplate{Credential: BasicCredential([]byte("member-000000"))}, nil, anyPolicy())
	noError(b, err)
	return g
}

func (s *benchGroup) join(b testing.TB, welcome []byte, i int) *Group {
	m, err := ParseMessage(welcome)
	noError(b, err)
	g, _, err := Join(m.Welcome, s.offers[i-1], s.secrets[i-1], JoinOptions{Signer: benchSigner(i), Policy: anyPolicy()})
	noError(b, err)
	return g
}

// warm gives every parent a key: from right to left each leaf renews its path,
// as seen by the founder, who then removes and adds the last member for a new
// Welcome.
func (s *benchGroup) warm(b testing.TB) {
	rand := testRand(3)
	g := s.founder
	t := g.tree.clone()
	for i := s.n - 2; i > 0; i-- {
		l := LeafIndex(i)
		o, err := t.newPath(rand, g.s, l)
		noError(b, err)
		_, pub, err := g.s.freshKeyPair(rand)
		noError(b, err)
		leaf := t.leaf(l).template().leaf(SourceCommit, pub, t.leaf(l).SignatureKey)
		leaf.ParentHash = o.parentHash
		noError(b, leaf.sign(benchSigner(i), g.cur.context.GroupID, l))
		t.setLeaf(l, leaf)
		for x, k := range o.priv {
			if x.covers(g.self) {
				g.priv[x] = k
			}
		}
	}
	// The epoch is made up: nobody else has to follow.
	g.tree = t
	context := g.cur.context
	context.TreeHash = t.rootHash()
	g.cur = newEpoch(g.s, context, make(secret, 32), make(secret, 32), t.size())
	g.cur.confirm(g.cur.tag())
	for _, p := range []Proposal{RemoveProposal(LeafIndex(s.n - 1)), AddProposal(s.offers[s.n-2])} {
		out, err := g.Commit(rand, CommitOptions{Path: true, Proposals: []Proposal{p}})
		noError(b, err)
		noError(b, g.Merge(out.Staged))
		s.welcome = out.Welcome
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, n := range benchSizes() {
		for _, warm := range []bool{false, true} {
			name := fmt.Sprintf("n=%d/cold", n)
			if warm {
				name = fmt.Sprintf("n=%d/warm", n)
			}
			b.Run(name, func(b *testing.B) { benchOne(b, n, warm) })
		}
	}
}

func benchOne(b *testing.B, n int, warm bool) {
	s := newBenchGroup(b, n, warm)
	rand := testRand(7)
	extra, _, err := NewKeyPackage(rand, X25519AES128, benchSigner(n), LeafTemplate{Credential: BasicCredential([]byte("extra"))}, Lifetime{0, 1 << 40})
	noError(b, err)
	if !warm {
		b.Run("create", func(b *testing.B) {
			for m := newMeter(b); m.loop(); {
				g := s.create(b)
				var o CommitOptions
				for _, k := range s.offers {
					o.Proposals = append(o.Proposals, AddProposal(k))
				}
				out, err := g.Commit(rand, o)
				noError(b, err)
				noError(b, g.Merge(out.Staged))
				b.ReportMetric(float64(len(out.Message)), "commit-B")
				b.ReportMetric(float64(len(out.Welcome)), "welcome-B")
			}
		})
	}
	b.Run("join", func(b *testing.B) {
		for m := newMeter(b); m.loop(); {
			s.join(b, s.welcome, n-1)
		}
	})
	for _, c := range []struct {
		name string
		o    CommitOptions
	}{
		{"add", CommitOptions{Proposals: []Proposal{AddProposal(extra)}}},
		{"add+path", CommitOptions{Path: true, Proposals: []Proposal{AddProposal(extra)}}},
		{"update", CommitOptions{Path: true}},
		{"remove", CommitOptions{Proposals: []Proposal{RemoveProposal(LeafIndex(n / 2))}}},
	} {
		if c.name == "remove" && n <= 2 {
			continue
		}
		c.o.TreeOutside = true
		var out *Committed
		b.Run(c.name+"/send", func(b *testing.B) {
			for m := newMeter(b); m.loop(); {
				out, err = s.founder.Commit(rand, c.o)
				noError(b, err)
			}
			b.ReportMetric(float64(len(out.Message)), "commit-B")
			if out.Welcome != nil {
				b.ReportMetric(float64(len(out.Welcome)), "welcome-B")
			}
		})
		o := c.o
		o.Framing.Public = true // so that one message can be received again and again
		out, err = s.founder.Commit(rand, o)
		noError(b, err)
		message, err := ParseMessage(out.Message)
		noError(b, err)
		b.Run(c.name+"/receive", func(b *testing.B) {
			for m := newMeter(b); m.loop(); {
				_, err := s.last.Receive(message, nil)
				noError(b, err)
			}
		})
	}
	benchMessages(b, s)
}

func benchMessages(b *testing.B, s *benchGroup) {
	rand := testRand(8)
	data := make([]byte, 200)
	b.Run("encrypt", func(b *testing.B) {
		g, err := s.founder.Clone()
		noError(b, err)
		g.TakeDelta()
		for m := newMeter(b); m.loop(); {
			_, err := g.Encrypt(rand, data, Framing{})
			noError(b, err)
			g.TakeDelta()
		}
	})
	b.Run("decrypt", func(b *testing.B) {
		g, err := s.last.Clone()
		noError(b, err)
		g.TakeDelta()
		sender, err := s.founder.Clone()
		noError(b, err)
		const batch = 512
		messages := make([]*Message, batch)
		i := batch
		for m := newMeter(b); m.loop(); {
			if i == batch {
				m.pause()
				b.StopTimer()
				for j := range messages {
					raw, err := sender.Encrypt(rand, data, Framing{})
					noError(b, err)
					messages[j], err = ParseMessage(raw)
					noError(b, err)
				}
				i = 0
				b.StartTimer()
				m.resume()
			}
			_, err := g.Receive(messages[i], nil)
			noError(b, err)
			g.TakeDelta()
			i++
		}
	})
}
