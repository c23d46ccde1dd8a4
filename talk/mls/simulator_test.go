package mls_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// simulation plays random groups over a hub that orders messages. Members read
// the hub's log at their own pace, are cut off and come back, race each other's
// commits, restart from their stores, and get messages late and twice.
type simulation struct {
	*world
	t       *testing.T
	max     int
	log     []entry
	epoch   uint64
	members []*client // as of the end of the log
	held    map[*client][]entry
	joined  map[*client]uint64 // first epoch of each
	offline map[*client]bool
	counts  map[string]int
}

// entry is a message in the hub's log.
type entry struct {
	from    *client
	epoch   uint64
	bytes   []byte
	data    string      // application data
	staged  *mls.Staged // of a commit, for its maker
	removed []*client
}

func TestSimulator(t *testing.T) {
	runs := []struct{ max, steps, seeds int }{{2, 60, 2}, {5, 100, 2}, {12, 70, 2}, {33, 40, 1}, {64, 24, 1}}
	if os.Getenv("CONFAB_LONG") != "" {
		for i := range runs {
			runs[i].steps, runs[i].seeds = 1000, 5
		}
	}
	for _, r := range runs {
		for seed := range r.seeds {
			suite := mls.Suites()[seed%3]
			if r.max == 12 && seed == 1 {
				suite = mls.XWingAES128
			}
			t.Run(fmt.Sprintf("members=%d/seed=%d/%v", r.max, seed, suite), func(t *testing.T) {
				s := &simulation{world: newWorld(t, suite, uint64(100+seed)), t: t, max: r.max, held: map[*client][]entry{},
					joined: map[*client]uint64{}, offline: map[*client]bool{}, counts: map[string]int{}}
				s.run(r.steps)
				t.Log(s.counts)
			})
		}
	}
}

func (s *simulation) run(steps int) {
	s.psks["psk"] = []byte("some external key")
	first := s.client()
	first.create("group")
	s.members = []*client{first}
	for range steps {
		s.step()
	}
	// Heal: everybody reads everything and agrees.
	clear(s.offline)
	for _, c := range s.members {
		s.catchUp(c)
	}
	agree(s.t, s.members)
	if n := len(s.members); n > 12 {
		talk(s.t, s.members[n-6:])
	} else {
		talk(s.t, s.members)
	}
}

func (s *simulation) pick() *client { return s.members[s.rng.IntN(len(s.members))] }

func (s *simulation) step() {
	c := s.pick()
	switch n := s.rng.IntN(20); {
	case n < 7:
		s.commit(c)
	case n < 11:
		s.say(c) // from whatever epoch it is in
	case n < 14:
		s.propose(c)
	case n == 14:
		s.externalJoin(c)
	case n == 15:
		s.restartOne(c)
	case n == 16:
		s.offline[c] = !s.offline[c]
	default:
		if !s.offline[c] {
			s.catchUp(c)
		}
	}
}

func (s *simulation) restartOne(c *client) {
	c.restart()
	s.counts["restart"]++
}

// catchUp lets c read the log to its end.
func (s *simulation) catchUp(c *client) {
	for c.read < len(s.log) && !c.group.Removed() {
		e := s.log[c.read]
		c.read++
		if e.from == c {
			if e.staged != nil {
				c.merge(e.staged)
			}
			continue
		}
		if e.data != "" && s.rng.IntN(4) == 0 {
			s.held[c] = append(s.held[c], e) // arrives later
			continue
		}
		s.deliver(c, e)
	}
	for s.rng.IntN(3) == 0 && len(s.held[c]) > 0 {
		i := s.rng.IntN(len(s.held[c]))
		e := s.held[c][i]
		s.held[c] = append(s.held[c][:i:i], s.held[c][i+1:]...)
		s.deliver(c, e)
	}
}

func (s *simulation) deliver(c *client, e entry) {
	if e.data == "" {
		r := c.mustReceive(e.bytes)
		if r.Commit != nil {
			if !r.Commit.SelfRemoved() && s.rng.IntN(4) == 0 { // the staged form round-trips
				data, err := r.Commit.MarshalBinary()
				s.ok(err)
				st, err := c.group.LoadStaged(data)
				if err != nil {
					s.t.Fatal(err)
				}
				r.Commit = st
			}
			c.merge(r.Commit)
		}
		return
	}
	r, err := c.receive(e.bytes)
	if e.epoch < s.joined[c] || e.epoch+3 < c.group.Epoch() {
		if !errors.Is(err, mls.ErrWrongEpoch) {
			s.t.Fatalf("message of epoch %d at epoch %d: %v", e.epoch, c.group.Epoch(), err)
		}
		s.counts["too old"]++
		return
	}
	if err != nil {
		s.t.Fatalf("%s: message of epoch %d at epoch %d: %v", c.name, e.epoch, c.group.Epoch(), err)
	}
	if string(r.Data) != e.data || string(r.Leaf.Credential.Identity) != e.from.name {
		s.t.Fatalf("read %q from %s", r.Data, r.Leaf.Credential.Identity)
	}
	s.counts["read"]++
	if e.epoch < c.group.Epoch() {
		s.counts["read late"]++
	}
	if s.rng.IntN(4) == 0 {
		c.restart()
		if _, err := c.receive(e.bytes); !errors.Is(err, mls.ErrConsumed) {
			s.t.Fatalf("replay: %v", err)
		}
		s.counts["replay refused"]++
	}
}

func (s *simulation) say(c *client) {
	if c.group.Removed() {
		return
	}
	data := fmt.Sprintf("message %d", len(s.log))
	b, err := c.group.Encrypt(s.rand(), []byte(data), mls.Framing{Pad: func(n int) int { return (n + 255) / 256 * 256 }})
	s.ok(err)
	c.save()
	s.log = append(s.log, entry{from: c, epoch: c.group.Epoch(), bytes: b, data: data})
}

// propose lets c propose something random. Proposals need the current epoch.
func (s *simulation) propose(c *client) {
	s.catchUp(c)
	f := mls.Framing{Public: s.rng.IntN(2) == 0}
	var b []byte
	var err error
	switch s.rng.IntN(4) {
	case 0:
		b, err = c.group.ProposeUpdate(s.rand(), nil, nil, f)
	case 1:
		var p mls.Proposal
		p, err = mls.ExternalPSKProposal(s.rand(), []byte("psk"))
		s.ok(err)
		b, err = c.group.Propose(s.rand(), p, f)
	case 2:
		b, err = c.group.Propose(s.rand(), mls.CustomProposal(customProposal, []byte{byte(len(s.log))}), f)
	case 3:
		b, err = c.group.Propose(s.rand(), mls.ExtensionsProposal([]mls.Extension{{Type: customExtension, Data: []byte{byte(len(s.log))}}}), f)
	}
	s.ok(err)
	c.save()
	s.log = append(s.log, entry{from: c, epoch: c.group.Epoch(), bytes: b})
	s.counts["proposal"]++
}

// commit lets c, and sometimes a rival, commit. The hub takes one.
func (s *simulation) commit(c *client) {
	s.catchUp(c)
	if s.rng.IntN(3) == 0 {
		rival := s.pick()
		s.catchUp(rival)
		if rival != c {
			// It loses: its commit reaches nobody and is dropped.
			rival.commit(mls.CommitOptions{Path: true, Framing: mls.Framing{Public: s.rng.IntN(2) == 0}})
			s.counts["lost race"]++
		}
	}
	o := mls.CommitOptions{Path: s.rng.IntN(3) == 0, TreeOutside: s.rng.IntN(3) == 0, PSKs: s.psks,
		Framing: mls.Framing{Public: s.rng.IntN(2) == 0}}
	var removed []*client
	touched := map[*client]bool{c: true}
	for len(s.members)-len(removed) > 1 && s.rng.IntN(3) == 0 {
		victim := s.pick()
		if touched[victim] {
			break
		}
		touched[victim] = true
		removed = append(removed, victim)
		at, ok := leafOf(c, victim)
		if !ok {
			s.t.Fatalf("%s is no member for %s", victim.name, c.name)
		}
		o.Proposals = append(o.Proposals, mls.RemoveProposal(at))
	}
	var added []*client
	var offers []*mls.KeyPackage
	var secrets []*mls.KeyPackageSecrets
	for room := s.max - len(s.members); room > 0 && s.rng.IntN(5) != 0; room-- {
		n := s.client()
		k, sec := n.offer()
		added, offers, secrets = append(added, n), append(offers, k), append(secrets, sec)
		o.Proposals = append(o.Proposals, mls.AddProposal(k))
	}
	out := c.commit(o)
	s.log = append(s.log, entry{from: c, epoch: c.group.Epoch(), bytes: out.Message, staged: out.Staged, removed: removed})
	s.catchUp(c)
	for _, v := range removed {
		s.members = without(s.members, v)
		s.catchUp(v)
		if !v.group.Removed() {
			s.t.Fatalf("%s does not know that it was removed", v.name)
		}
	}
	for i, n := range added {
		var jo mls.JoinOptions
		if o.TreeOutside {
			jo.Tree = c.group.RatchetTree()
		}
		s.ok(n.join(out.Welcome, offers[i], secrets[i], jo))
		n.read, s.joined[n] = len(s.log), n.group.Epoch()
		s.members = append(s.members, n)
	}
	s.counts["commit"]++
	s.counts["added"] += len(added)
	s.counts["removed"] += len(removed)
}

func leafOf(c, other *client) (mls.LeafIndex, bool) {
	for _, m := range c.group.Members() {
		if string(m.Leaf.Credential.Identity) == other.name {
			return m.Index, true
		}
	}
	return 0, false
}

func (s *simulation) externalJoin(host *client) {
	s.catchUp(host)
	gi, err := host.group.GroupInfo(mls.GroupInfoOptions{External: true})
	s.ok(err)
	n := s.client()
	o := mls.ExternalJoin{Signer: n.key, Template: n.template(), Policy: s.policy}
	var old *client
	if len(s.members) >= s.max { // full: somebody comes back from a lost device
		if old = s.pick(); old == host {
			return
		}
		at, _ := leafOf(host, old)
		n.name, n.key = old.name, old.key
		o.Signer, o.Template, o.Replaces = n.key, n.template(), &at
	}
	g, message, err := mls.JoinExternal(s.rand(), parse(s.t, gi).GroupInfo, o)
	s.ok(err)
	n.group = g
	n.save()
	s.ok(mls.CheckGroup(g))
	s.log = append(s.log, entry{from: n, epoch: g.Epoch() - 1, bytes: message})
	n.read, s.joined[n] = len(s.log), g.Epoch()
	if old != nil {
		s.members = without(s.members, old)
		s.catchUp(old)
	}
	s.members = append(s.members, n)
	s.counts["external join"]++
}
