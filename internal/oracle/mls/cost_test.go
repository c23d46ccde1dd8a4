package mls_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/talk/mls"
)

// What is asserted with CONFAB_LONG.
const (
	maxRatio    = 1.5             // CPU of talk/mls over that of mls-go, each operation
	maxColdJoin = 2 * time.Second // join at 10,000
)

// scene is a group of n seen by a member on talk/mls and one on mls-go. All
// others are phantoms, who never do anything again.
type scene struct {
	t       testing.TB
	n       int
	warm    bool
	keys    *rand.ChaCha8
	ours    *ourMember
	them    *goMember
	rows    []*row
	phantom int
	added   []uint32 // leaves of phantoms
}

func (s *scene) row(op string) *row {
	for _, r := range s.rows {
		if r.op == op {
			return r
		}
	}
	r := &row{op: op}
	s.rows = append(s.rows, r)
	return r
}

// offer is the key package of a phantom.
func (s *scene) offer() []byte {
	s.phantom++
	i := 1_000_000 + s.phantom
	k, _, err := mls.NewKeyPackage(s.keys, mls.X25519AES128, phantomKey(i),
		mls.LeafTemplate{Credential: mls.BasicCredential(phantomName(i))}, mls.Lifetime{NotAfter: 1 << 40})
	noError(s.t, err)
	return k.Message()
}

// newScene builds the group and measures what comes with it. Cold: all were
// added in one commit. Warm: every member has committed.
func newScene(t testing.TB, n int, warm bool) *scene {
	s := &scene{t: t, n: n, warm: warm, keys: rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})}
	ours, err := newOurClient("ours", mls.X25519AES128, s.keys)
	noError(t, err)
	them, err := newGoClient("theirs", mls.X25519AES128)
	noError(t, err)
	other, err := newOurClient("second", mls.X25519AES128, s.keys) // joins to be measured
	noError(t, err)
	var newcomers []proposal
	for _, c := range []client{them, other} {
		k, err := c.offer()
		noError(t, err)
		newcomers = append(newcomers, proposal{kind: proposeAdd, keyPackage: k})
	}
	// The two who act sit side by side, so that both have the same copath.
	var m member
	if warm && n > 3 {
		f := &forged{t: t, rand: s.keys, suite: mls.X25519AES128, groupID: []byte("costs"), members: n - 2}
		m, _, err = ours.joinExternal(f.groupInfo(), nil)
		noError(t, err)
	} else {
		m, err = ours.create([]byte("costs"))
		noError(t, err)
		for len(newcomers) < n-1 {
			newcomers = slices.Insert(newcomers, 1, proposal{kind: proposeAdd, keyPackage: s.offer()})
		}
		newcomers = newcomers[:n-1]
	}
	s.ours = m.(*ourMember)
	s.ours.bare = true
	_, welcome, err := s.ours.commit(newcomers, true)
	noError(t, err)
	s.measureJoin(ours, other, them, welcome)
	if warm { // the two who came last, and one too many
		s.pathBy(s.them, s.ours)
		if last := uint32(n); s.leaves()[last] {
			s.pathBy(s.ours, s.them, proposal{kind: proposeRemove, leaf: last})
		}
		s.pathBy(s.ours, s.them)
	}
	if got := len(s.leaves()); got != n {
		t.Fatalf("%d members instead of %d", got, n)
	}
	return s
}

func (s *scene) pathBy(from, to member, list ...proposal) {
	message, _, err := from.commit(list, true)
	noError(s.t, err)
	_, err = to.receive(message)
	noError(s.t, err)
}

// measureJoin lets each side join by the same Welcome. In a group of two there
// is room for one, so talk/mls joins a group of its own kind.
func (s *scene) measureJoin(ours, other *ourClient, them *goClient, welcome []byte) {
	ourWelcome := welcome
	if s.n == 2 {
		m, err := ours.create([]byte("two"))
		noError(s.t, err)
		k, err := other.offer()
		noError(s.t, err)
		_, ourWelcome, err = m.commit([]proposal{{kind: proposeAdd, keyPackage: k}}, true)
		noError(s.t, err)
	}
	s.them = s.compareJoins("join", other, them, ourWelcome, welcome)
}

// compareJoins measures one way to join and returns the one on mls-go.
func (s *scene) compareJoins(op string, ours *ourClient, them *goClient, ourWelcome, welcome []byte) (joined *goMember) {
	r := s.row(op)
	for i := range s.repeat() {
		c := timed(func() {
			_, err := ours.join(ourWelcome)
			noError(s.t, err)
		})
		c.bytes = len(ourWelcome)
		r.ours = append(r.ours, c)
		if s.n >= 10_000 && i > 0 {
			continue // mls-go takes up to minutes
		}
		c = timed(func() {
			m, err := them.join(welcome)
			noError(s.t, err)
			joined = m.(*goMember)
		})
		c.bytes = len(welcome)
		r.them = append(r.them, c)
	}
	return joined
}

// measureLateJoin lets two more join, by a commit with a path. In a cold tree
// the few parents that have keys by now make the tree the harder to check.
func (s *scene) measureLateJoin() {
	ours, err := newOurClient("late, ours", mls.X25519AES128, s.keys)
	noError(s.t, err)
	them, err := newGoClient("late, theirs", mls.X25519AES128)
	noError(s.t, err)
	o := mls.CommitOptions{Path: true, Framing: mls.Framing{Public: true}}
	for _, c := range []client{ours, them} {
		k, err := c.offer()
		noError(s.t, err)
		p, err := s.ours.proposal(proposal{kind: proposeAdd, keyPackage: k})
		noError(s.t, err)
		o.Proposals = append(o.Proposals, p)
	}
	out, err := s.ours.g.Commit(s.keys, o)
	noError(s.t, err)
	noError(s.t, s.ours.g.Merge(out.Staged))
	s.compareJoins("join after commits", ours, them, out.Welcome, out.Welcome)
}

func (s *scene) repeat() int {
	switch {
	case s.n <= 100:
		return 11
	case s.n <= 1000:
		return 5
	}
	return 3
}

// measureCreate founds a group of n in one commit.
func (s *scene) measureCreate() {
	if s.n >= 10_000 && os.Getenv("CONFAB_LONG") == "" {
		return
	}
	var list []proposal
	for range s.n - 1 {
		list = append(list, proposal{kind: proposeAdd, keyPackage: s.offer()})
	}
	r := s.row("create")
	ours, err := newOurClient("founder", mls.X25519AES128, s.keys)
	noError(s.t, err)
	them, err := newGoClient("founder", mls.X25519AES128)
	noError(s.t, err)
	for range max(1, s.repeat()/2) {
		for _, x := range []struct {
			c    client
			into *[]cost
		}{{ours, &r.ours}, {them, &r.them}} {
			size := 0
			c := timed(func() {
				m, err := x.c.create([]byte("new"))
				noError(s.t, err)
				commit, welcome, err := m.commit(list, true)
				noError(s.t, err)
				size = len(commit) + len(welcome)
			})
			c.bytes = size
			*x.into = append(*x.into, c)
		}
	}
}

// commitBy measures how one side commits and the other receives.
func (s *scene) commitBy(op string, ourTurn bool, do func(member) ([]byte, error)) {
	from, to := member(s.ours), member(s.them)
	r, received := s.row(op), &row{}
	if op != "add" { // talk/mls adds without path, mls-go with: two different messages
		received = s.row(op + ", received")
	}
	made, got := &r.ours, &received.them
	if !ourTurn {
		from, to = to, from
		made, got = &r.them, &received.ours
	}
	var message []byte
	c := timed(func() {
		var err error
		message, err = do(from)
		noError(s.t, err)
	})
	c.bytes = len(message)
	*made = append(*made, c)
	c = timed(func() {
		_, err := to.receive(message)
		noError(s.t, err)
	})
	c.bytes = len(message)
	*got = append(*got, c)
	noError(s.t, s.agree())
}

func (s *scene) agree() error {
	v, err := s.ours.state()
	if err != nil {
		return err
	}
	w, err := s.them.state()
	if err != nil {
		return err
	}
	return v.same(w)
}

// measureCommits adds, removes and updates in turns, so that the size stays.
func (s *scene) measureCommits() {
	commit := func(list ...proposal) func(member) ([]byte, error) {
		return func(m member) ([]byte, error) {
			message, _, err := m.commit(list, true)
			return message, err
		}
	}
	addWithPath := func(p proposal) func(member) ([]byte, error) {
		return func(m member) ([]byte, error) {
			ours, ok := m.(*ourMember)
			if !ok {
				return commit(p)(m) // mls-go has a path always
			}
			q, err := ours.proposal(p)
			if err != nil {
				return nil, err
			}
			defer ours.save()
			out, err := ours.g.Commit(ours.c.rand, mls.CommitOptions{Proposals: []mls.Proposal{q}, Path: true, Framing: mls.Framing{Public: true}})
			if err != nil {
				return nil, err
			}
			return out.Message, ours.g.Merge(out.Staged)
		}
	}
	for range s.repeat() {
		for _, ourTurn := range []bool{true, false} {
			for _, op := range []string{"add", "add+path"} {
				p := proposal{kind: proposeAdd, keyPackage: s.offer()}
				before := s.leaves()
				if op == "add" {
					s.commitBy(op, ourTurn, commit(p))
				} else {
					s.commitBy(op, ourTurn, addWithPath(p))
				}
				for l := range s.leaves() {
					if !before[l] {
						s.added = append(s.added, l)
					}
				}
				s.commitBy("remove", ourTurn, commit(proposal{kind: proposeRemove, leaf: s.added[0]}))
				s.added = s.added[1:]
			}
			s.commitBy("update", ourTurn, commit())
		}
	}
}

func (s *scene) leaves() map[uint32]bool {
	set := map[uint32]bool{}
	for _, m := range s.ours.g.Members() {
		set[uint32(m.Index)] = true
	}
	return set
}

// messageBatch is how many messages one measurement holds.
const messageBatch = 500

// measureMessages writes and reads 200 bytes; talk/mls stores each change.
func (s *scene) measureMessages() {
	data := make([]byte, 200)
	for range 7 {
		for _, x := range []struct {
			from, to  member
			made, got *[]cost
		}{
			{s.ours, s.them, &s.row("encrypt").ours, &s.row("decrypt").them},
			{s.them, s.ours, &s.row("encrypt").them, &s.row("decrypt").ours},
		} {
			messages := make([][]byte, messageBatch)
			c := timed(func() {
				for i := range messages {
					var err error
					messages[i], err = x.from.encrypt(data)
					noError(s.t, err)
				}
			})
			c.bytes = len(messages[0])
			*x.made = append(*x.made, c.per(messageBatch))
			c = timed(func() {
				for _, m := range messages {
					_, err := x.to.receive(m)
					noError(s.t, err)
				}
			})
			c.bytes = len(messages[0])
			*x.got = append(*x.got, c.per(messageBatch))
		}
		s.pathBy(s.ours, s.them) // fresh ratchets
	}
}

func (s *scene) tree() string {
	if s.warm {
		return "warm"
	}
	return "cold"
}

// report prints the rows as a table in Markdown and returns what is too slow.
func (s *scene) report(w *strings.Builder) (slow []string) {
	for _, r := range s.rows {
		ours, them := median(r.ours), median(r.them)
		ratio := float64(ours.cpu) / float64(them.cpu)
		fmt.Fprintf(w, "| %s | %d | %s | %v | %v | %.2f | %.2f | %d | %d | %.0f | %.0f |\n", r.op, s.n, s.tree(),
			short(ours.cpu), short(them.cpu), ratio, float64(ours.wall)/float64(them.wall), ours.bytes, them.bytes, ours.allocs, them.allocs)
		if ratio > maxRatio {
			slow = append(slow, fmt.Sprintf("%s, %d members, %s: %v, mls-go %v", r.op, s.n, s.tree(), ours.cpu, them.cpu))
		}
		if strings.HasPrefix(r.op, "join") && s.n >= 10_000 && !s.warm && ours.wall > maxColdJoin {
			slow = append(slow, fmt.Sprintf("join, %d members, cold: %v", s.n, ours.wall))
		}
	}
	return slow
}

// TestCosts prints time and bytes of talk/mls beside mls-go, in the same group
// and the same run: each commit of one is received by the other.
func TestCosts(t *testing.T) {
	sizes := []int{2, 10, 100}
	long := os.Getenv("CONFAB_LONG") != ""
	if long {
		sizes = []int{2, 10, 100, 1000, 10_000}
	}
	var table strings.Builder
	table.WriteString("| operation | members | tree | CPU | CPU mls-go | ratio | wall ratio | bytes | bytes mls-go | allocs | allocs mls-go |\n")
	table.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	var slow []string
	for _, n := range sizes {
		for _, warm := range []bool{false, true} {
			s := newScene(t, n, warm)
			if !warm {
				s.measureCreate()
			}
			s.measureCommits()
			s.measureMessages()
			s.measureLateJoin()
			slow = append(slow, s.report(&table)...)
		}
	}
	t.Log("suite 1, CPU of the process per operation\n" + table.String())
	for _, line := range slow {
		if long {
			t.Error("too slow: " + line)
		} else {
			t.Log("slower than the target: " + line)
		}
	}
}
