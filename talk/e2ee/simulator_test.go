package e2ee_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// simulator is two people whose devices come and go, write and commit at the same
// time, restart at any moment, and get what others send in any order, late or never.
// Only the slot keeps order, as a queue does.
type simulator struct {
	*world
	nodes []*node
	slots map[[16]byte][]byte
	key   e2ee.EnvelopeKey // of the ordering queue
	text  int
	heals int
}

// node is a device with its inbox.
type node struct {
	*device
	sim   *simulator
	inbox [][]byte
	sent  []message.Event // of its own
	heard map[message.ID]int
	old   map[string]*e2ee.Session // replaced instances, to read late messages
	own   []byte                   // a stored change that is on its way to the slot
	slot  [16]byte
	stuck bool // the current instance cannot go on
	after uint64
}

func (s *simulator) join(p message.Party) *node {
	n := &node{device: s.device(p, party(1), party(2)), sim: s, heard: map[message.ID]int{}, old: map[string]*e2ee.Session{}}
	s.nodes = append(s.nodes, n)
	return n
}

func (s *simulator) listedNodes() []*node {
	var list []*node
	for _, n := range s.nodes {
		if slices.ContainsFunc(s.listed, n.member.Is) {
			list = append(list, n)
		}
	}
	return list
}

func (s *simulator) pick() *node {
	list := s.listedNodes()
	return list[s.rng.IntN(len(list))]
}

// deliver puts a message into everybody's inbox; some are lost if they may be.
func (s *simulator) deliver(m []byte, lossy bool) {
	for _, n := range s.nodes {
		if lossy && s.rng.IntN(20) == 0 {
			continue
		}
		n.inbox = append(n.inbox, m)
	}
}

func newSimulator(t testing.TB, seed uint64, a, b int) *simulator {
	s := &simulator{world: newWorld(t, seed), slots: map[[16]byte][]byte{}}
	s.key = s.envelopeKey()
	for i := range a + b {
		s.join(party(byte(1 + min(i/a, 1))))
	}
	s.nodes[0].instance(1)
	return s
}

// instance makes an instance for all listed devices.
func (n *node) instance(number uint64) {
	n.w.t.Helper()
	var others []*device
	for _, o := range n.sim.listedNodes() {
		if o != n {
			others = append(others, o.device)
		}
	}
	n.replace()
	welcome := n.create(number, others...)
	n.stuck, n.own = false, nil
	if welcome != nil {
		n.sim.deliver(welcome, false)
	}
}

func (n *node) replace() {
	if n.s != nil {
		n.old[string(n.s.Group())] = n.s
	}
}

// current returns the number and group of the current instance.
func (n *node) current() (uint64, []byte) {
	if n.s == nil {
		return 0, nil
	}
	return n.s.Instance(), n.s.Group()
}

// step lets one device do one thing.
func (s *simulator) step() {
	n := s.pick()
	switch s.rng.IntN(24) {
	case 0:
		s.come()
	case 1:
		s.goAway()
	case 2, 3:
		n.change(true)
	case 4, 5:
		if n.s != nil {
			n.reload()
		}
	case 6, 7, 8, 9, 10:
		n.write()
	default:
		n.read()
	}
}

func (s *simulator) come() {
	if p := party(byte(1 + s.rng.IntN(2))); s.count(p) < namesvc.MaxDevices {
		s.join(p)
	}
}

func (s *simulator) goAway() {
	if n := s.pick(); s.count(n.member.Party()) > 1 {
		s.delist(n.device)
	}
}

func (s *simulator) count(p message.Party) (n int) {
	for _, m := range s.listed {
		if m.Party() == p {
			n++
		}
	}
	return n
}

func (n *node) write() {
	if n.s == nil || n.s.Removed() || n.stuck {
		return
	}
	n.sim.text++
	e := n.event(fmt.Sprint(n.sim.text))
	m, err := n.s.Seal(n.w.src, e2ee.Payload{Event: &e})
	n.w.ok(err)
	n.save()
	n.sim.deliver(m, true)
}

// change commits what is due, or just renews keys.
func (n *node) change(renew bool) {
	if n.stuck {
		number, _ := n.current()
		n.instance(max(n.after, number) + 1)
		n.sim.heals++
		return
	}
	if n.s == nil || n.own != nil {
		return
	}
	remove, add := n.s.Due(n.w.listed)
	if !renew && len(remove)+len(add) == 0 {
		return
	}
	var joining []*device
	for _, o := range n.sim.nodes {
		if slices.ContainsFunc(add, o.member.Is) {
			joining = append(joining, o.device)
		}
	}
	c, err := n.s.Commit(n.w.src, now(), n.w.listed, offers(joining...))
	n.w.ok(err)
	n.own, err = c.MarshalBinary()
	n.w.ok(err)
	list, err := n.sim.key.WrapCommit(n.w.src, c.Message, c.Slot, c.Epoch)
	n.w.ok(err)
	n.slot = list[len(list)-1].ID
	n.save()
	if n.sim.rng.IntN(2) == 0 {
		n.finish()
	}
}

func (n *node) due() bool {
	if n.s == nil {
		return false
	}
	remove, add := n.s.Due(n.w.listed)
	return len(remove)+len(add) > 0
}

// finish brings an own change to the slot: it wins, or is dropped for good.
func (n *node) finish() {
	own := n.own
	n.own = nil
	n.reload()
	c, err := n.s.LoadChange(own)
	if errors.Is(err, e2ee.ErrLate) {
		return
	}
	n.w.ok(err)
	if _, taken := n.sim.slots[n.slot]; taken {
		return
	}
	n.sim.slots[n.slot] = c.Message
	n.merge(c)
	n.sim.deliver(c.Message, false)
	if c.Welcome != nil {
		n.sim.deliver(c.Welcome, false)
	}
}

// read takes any message from the inbox.
func (n *node) read() {
	if n.own != nil {
		n.finish()
		return
	}
	if len(n.inbox) == 0 {
		return
	}
	i := n.sim.rng.IntN(len(n.inbox))
	m := n.inbox[i]
	if n.take(m) {
		n.inbox = slices.Delete(n.inbox, i, i+1)
	}
}

// readAll reads whatever can be read, and reports whether anything was.
func (n *node) readAll() (any bool) {
	for progress := true; progress; any = any || progress {
		waiting := n.inbox
		n.inbox = nil
		for _, m := range waiting {
			if !n.take(m) {
				n.inbox = append(n.inbox, m)
			}
		}
		progress = len(n.inbox) < len(waiting)
	}
	return any
}

// take reads a message and reports whether it is done with.
func (n *node) take(m []byte) bool {
	if e2ee.IsWelcome(m) {
		n.welcome(m)
		return true
	}
	id, _, ok := e2ee.GroupOf(m)
	if !ok {
		n.w.t.Fatal("not a message")
	}
	s := n.s
	if _, group := n.current(); !bytes.Equal(id, group) {
		s = n.old[string(id)]
	}
	if s == nil {
		return false // of an instance that may still come
	}
	o, err := s.Open(m)
	switch {
	case errors.Is(err, e2ee.ErrEarly):
		return s != n.s
	case errors.Is(err, e2ee.ErrForbidden):
		// Somebody's commit who is not listed any more.
		n.stuck = n.stuck || s == n.s
	case errors.Is(err, e2ee.ErrLate), errors.Is(err, e2ee.ErrSpent):
	case errors.Is(err, e2ee.ErrBroken) && s.Removed():
	case err != nil:
		n.w.t.Fatalf("%v: %v", n, err)
	case o.Change != nil && s == n.s:
		n.merge(o.Change)
	case o.Payload.Event != nil:
		n.heard[o.Payload.Event.ID()]++
		if s == n.s {
			n.save()
		}
	}
	return true
}

func (n *node) welcome(m []byte) {
	s, ref, err := e2ee.Enter(now(), n.options(), m, n.secret)
	var stale *e2ee.StaleError
	switch number, group := n.current(); {
	case errors.Is(err, e2ee.ErrOthers):
	case errors.As(err, &stale):
		if e2ee.Newer(stale.Instance, stale.Group, number, group) {
			n.stuck, n.after = true, max(n.after, stale.Instance)
		}
	case err != nil:
		n.w.t.Fatalf("%v: %v", n, err)
	default:
		delete(n.secrets, string(ref))
		if e2ee.Newer(s.Instance(), s.Group(), number, group) {
			n.replace()
			n.become(s)
			n.stuck, n.own = false, nil
		}
	}
}

// settle lets everybody read all there is, commit what is due and mend what is
// broken, until nothing is left to do.
func (s *simulator) settle() {
	for range 200 {
		busy := false
		for _, n := range s.listedNodes() {
			if n.own != nil {
				n.finish()
			}
			busy = n.readAll() || busy
		}
		if list := s.listedNodes(); !slices.ContainsFunc(list, func(n *node) bool { return n.s != nil }) {
			list[0].stuck = true // everyone who was inside is gone
		}
		for _, n := range s.listedNodes() {
			if n.stuck || n.due() {
				busy = true
				n.change(false)
				if n.own != nil {
					n.finish()
				}
				break
			}
		}
		if !busy {
			return
		}
	}
	for _, n := range s.listedNodes() {
		s.t.Logf("%v: %v stuck %v due %v inbox %d", n, n.s, n.stuck, n.due(), len(n.inbox))
	}
	s.t.Fatal("they never settle")
}

// check asserts that all listed devices are in one epoch of one group, and hear
// each other.
func (s *simulator) check() {
	s.t.Helper()
	list := s.listedNodes()
	first := list[0]
	for _, n := range list {
		if n.s == nil || n.s.Removed() {
			s.t.Fatalf("%v is outside", n)
		}
		if !bytes.Equal(e2ee.Bare(n.s).EpochAuthenticator(), e2ee.Bare(first.s).EpochAuthenticator()) {
			s.t.Fatalf("%v in %v, %v in %v", n, n.s, first, first.s)
		}
		if len(n.s.Members()) != len(s.listed) {
			s.t.Fatalf("%v has %d members, %d are listed", n, len(n.s.Members()), len(s.listed))
		}
		for id, times := range n.heard {
			if times != 1 {
				s.t.Fatalf("%v heard %v %d times", n, id, times)
			}
		}
	}
	m := first.say("all here?")
	for _, n := range list[1:] {
		n.hears(m, first.device, "all here?")
	}
}

func TestSimulator(t *testing.T) {
	runs, steps := 8, 240
	if os.Getenv("CONFAB_LONG") != "" {
		runs, steps = 60, 900
	}
	heals, heard := 0, 0
	for seed := range runs {
		s := newSimulator(t, uint64(seed), 1+seed%4, 1+seed%3)
		for range 3 {
			for range steps / 3 {
				s.step()
			}
			s.settle()
			s.check()
		}
		heals += s.heals
		for _, n := range s.nodes {
			heard += len(n.heard)
		}
	}
	t.Logf("%d runs: %d instances mended, %d messages heard", runs, heals, heard)
	if heals == 0 || heard == 0 {
		t.Error("nothing happened")
	}
}
