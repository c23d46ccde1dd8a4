package mls_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/talk/mls"
)

var (
	flagSeed  = flag.Uint64("mls.seed", 0, "make one random run with this seed")
	flagSuite = flag.Uint("mls.suite", 1, "cipher suite of the run of -mls.seed")
	flagSteps = flag.Int("mls.steps", 200, "steps of the run of -mls.seed")
)

// maxGroup is the largest random group: trees of 16 leaves, with blanks.
const maxGroup = 14

// shortBudget is when the default form of the test starts no further run.
const shortBudget = 30 * time.Second

func TestRandomGroups(t *testing.T) {
	needNode(t)
	if *flagSeed != 0 {
		randomRun(t, mls.CipherSuite(*flagSuite), *flagSeed, *flagSteps)
		return
	}
	long := os.Getenv("CONFAB_LONG") != ""
	runs, steps := 6, 50
	if long {
		runs, steps = 24, 200
	}
	start := time.Now()
	done := 0
	// Suites 1 and 3 with three implementations, X-Wing with the two that have it.
	order := []mls.CipherSuite{mls.X25519AES128, mls.X25519ChaCha20, mls.XWingAES128}
	for i := range runs {
		if !long && i >= len(order) && time.Since(start) > shortBudget {
			break
		}
		suite := order[i%len(order)]
		ok := t.Run(fmt.Sprintf("seed=%d,suite=%#04x", i+1, uint16(suite)), func(t *testing.T) {
			randomRun(t, suite, uint64(i+1), steps)
		})
		if ok {
			done++
		}
	}
	t.Logf("%d runs of %d steps agreed, in %v", done, steps, time.Since(start).Round(time.Second))
}

func randomRun(t *testing.T, suite mls.CipherSuite, seed uint64, steps int) {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	w := &world{
		t: t, suite: suite, rng: rand.New(rand.NewPCG(seed, uint64(suite))), keys: rand.NewChaCha8(key),
		ts: startChild(t, "driver.mjs", corrections()...), counts: map[string]int{},
		kinds: []string{"talk/mls", "mls-go", "ts-mls"},
	}
	if suite == mls.XWingAES128 { // mls-go does not have it
		w.kinds = []string{"talk/mls", "ts-mls"}
	}
	if err := w.found(); err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		if err := w.step(); err != nil {
			for _, line := range w.history[max(0, len(w.history)-25):] {
				t.Log(line)
			}
			t.Fatalf("step %d of seed %d, suite %#04x, epoch %d: %v", i+1, seed, uint16(suite), w.epoch, err)
		}
	}
	t.Logf("epoch %d, %d clients, %v", w.epoch, w.born, w.counts)
}

func (w *world) found() error {
	c, err := w.newClient()
	if err != nil {
		return err
	}
	m, err := c.create(groupName())
	if err != nil {
		return err
	}
	w.seats = []*seat{{client: c, member: m}}
	for range 3 { // a group of one cannot do much
		if err := w.add(1 + w.rng.IntN(2)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) pick() *seat { return w.seats[w.rng.IntN(len(w.seats))] }

func (w *world) maybe(percent int) bool { return w.rng.IntN(100) < percent }

// step does one random thing.
func (w *world) step() error {
	n := len(w.seats)
	actions := []struct {
		name   string
		weight int
		can    bool
		do     func() error
	}{
		{"write", 30, n > 1, w.write},
		{"add", 14, n < maxGroup, func() error { return w.add(1 + w.rng.IntN(min(3, maxGroup-n))) }},
		{"remove", 11, n > 3, w.remove},
		{"update", 12, true, func() error { return w.commit(w.pick(), nil) }},
		{"join", 7, n < maxGroup, func() error { return w.joinExternal(nil) }},
		{"rejoin", 5, n > 2, func() error { return w.joinExternal(w.pick()) }},
		{"by reference", 12, n > 2, w.byReference},
		{"psk", 5, true, w.mixPSK},
		{"extensions", 3, true, w.setExtensions},
		{"restart", 4, true, w.restart},
	}
	total := 0
	for _, a := range actions {
		if a.can {
			total += a.weight
		}
	}
	x := w.rng.IntN(total)
	for _, a := range actions {
		if !a.can {
			continue
		}
		if x -= a.weight; x < 0 {
			w.counts[a.name]++
			return wrap(a.name, a.do())
		}
	}
	return nil
}

// write lets a few members write; everybody reads in an order of its own, and
// some only in a later epoch.
func (w *world) write() error {
	var batch []sent
	var from []*seat
	for range 1 + w.rng.IntN(4) {
		s := w.pick()
		data := make([]byte, w.rng.IntN(600))
		for i := range data {
			data[i] = byte(w.rng.Uint32())
		}
		message, err := s.member.encrypt(data)
		if err != nil {
			return fmt.Errorf("%v encrypts: %w", s, err)
		}
		w.note("%v writes %d bytes", s, len(data))
		batch = append(batch, sent{w.epoch, message, data})
		from = append(from, s)
	}
	for _, s := range w.seats {
		var mine []sent
		for i, m := range batch {
			if from[i] != s {
				mine = append(mine, m)
			}
		}
		w.rng.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		for _, m := range mine {
			if w.maybe(15) {
				s.late = append(s.late, m)
			} else if err := w.read(s, m); err != nil {
				return err
			}
		}
	}
	w.counts["messages"] += len(batch)
	return nil
}

// commit makes from commit, without those who leave, with those who come.
func (w *world) commit(from *seat, list []proposal, joiners ...client) error {
	open := w.maybe(50)
	w.note("%v commits %v, open %v", from, kindsOf(list), open)
	message, welcome, err := from.member.commit(list, open)
	if err != nil {
		return fmt.Errorf("%v commits %v: %w", from, kindsOf(list), err)
	}
	return w.finish(from, message, welcome, joiners)
}

// finish delivers a commit and its Welcome and compares everything.
func (w *world) finish(from *seat, message, welcome []byte, joiners []client) error {
	if err := w.deliver(from, message); err != nil {
		return err
	}
	if (welcome != nil) != (len(joiners) > 0) {
		return fmt.Errorf("Welcome of %d bytes for %d joiners", len(welcome), len(joiners))
	}
	for _, c := range joiners {
		m, err := c.join(welcome)
		if err != nil {
			return fmt.Errorf("%s joins by Welcome of %v: %w", c.kind(), from, err)
		}
		w.seats = append(w.seats, &seat{client: c, member: m})
	}
	w.coming = nil
	if err := w.agree(); err != nil {
		return err
	}
	return w.readLate()
}

func kindsOf(list []proposal) (kinds []proposalKind) {
	for _, p := range list {
		kinds = append(kinds, p.kind)
	}
	return kinds
}

func (w *world) newcomers(n int) (list []proposal, joiners []client, err error) {
	for range n {
		c, err := w.newClient()
		if err != nil {
			return nil, nil, err
		}
		k, err := c.offer()
		if err != nil {
			return nil, nil, err
		}
		list = append(list, proposal{kind: proposeAdd, keyPackage: k})
		joiners = append(joiners, c)
	}
	w.coming = append(w.coming, joiners...)
	return list, joiners, nil
}

func (w *world) add(n int) error {
	list, joiners, err := w.newcomers(n)
	if err != nil {
		return err
	}
	return w.commit(w.pick(), list, joiners...)
}

func (w *world) leaf(s *seat) (uint32, error) {
	v, err := s.member.state()
	return v.leaf, err
}

// leave takes random seats other than keep out of the group.
func (w *world) leave(n int, keep *seat) (list []proposal, err error) {
	for range n {
		i := w.rng.IntN(len(w.seats))
		if w.seats[i] == keep {
			continue
		}
		leaf, err := w.leaf(w.seats[i])
		if err != nil {
			return nil, err
		}
		list = append(list, proposal{kind: proposeRemove, leaf: leaf})
		w.seats = slices.Delete(w.seats, i, i+1)
	}
	return list, nil
}

// remove takes members out, and sometimes brings others in with the same commit.
func (w *world) remove() error {
	if err := w.settle(); err != nil {
		return err
	}
	from := w.pick()
	list, err := w.leave(1+w.rng.IntN(2), from)
	if err != nil {
		return err
	}
	var joiners []client
	if w.maybe(30) {
		var adds []proposal
		if adds, joiners, err = w.newcomers(1); err != nil {
			return err
		}
		list = append(list, adds...)
	}
	return w.commit(from, list, joiners...)
}

// joinExternal lets somebody in by external commit, a member in place of itself.
func (w *world) joinExternal(again *seat) error {
	if err := w.settle(); err != nil {
		return err
	}
	door := w.door(again)
	if door == nil {
		return nil
	}
	info, err := door.member.groupInfo()
	if err != nil {
		return fmt.Errorf("%v makes group info: %w", door, err)
	}
	s := &seat{}
	var former *uint32
	if again == nil {
		s.client, err = w.newClient()
	} else {
		s.client = again.client
		var leaf uint32
		leaf, err = w.leaf(again)
		former = &leaf
		w.seats = slices.DeleteFunc(w.seats, func(x *seat) bool { return x == again })
	}
	if err != nil {
		return err
	}
	w.note("%s joins from outside, group info of %v, former leaf %v", s.client.kind(), door, former != nil)
	m, commit, err := s.client.joinExternal(info, former)
	if err != nil {
		return fmt.Errorf("%s joins by group info of %v: %w", s.client.kind(), door, err)
	}
	s.member = m
	w.seats = append(w.seats, s)
	return w.finish(s, commit, nil, nil)
}

// door is a member who can make a group info that works.
func (w *world) door(not *seat) *seat {
	var able []*seat
	for _, s := range w.seats {
		if m, ok := s.member.(*goMember); s != not && (!ok || !m.untagged && w.epoch > 0) {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return nil
	}
	return able[w.rng.IntN(len(able))]
}

// byReference lets several members propose and another commit.
func (w *world) byReference() error {
	if err := w.settle(); err != nil {
		return err
	}
	committer := w.pick()
	var joiners []client
	var leaving []*seat
	proposers := slices.Clone(w.seats)
	w.rng.Shuffle(len(proposers), func(i, j int) { proposers[i], proposers[j] = proposers[j], proposers[i] })
	proposers = proposers[:min(len(proposers), 1+w.rng.IntN(3))]
	for _, s := range proposers {
		if slices.Contains(leaving, s) {
			continue
		}
		p, err := w.randomProposal(s, committer, proposers, &joiners, &leaving)
		if err != nil {
			return err
		}
		open := w.maybe(50)
		w.note("%v proposes %s, open %v", s, p.kind, open)
		message, err := s.member.propose(p, open)
		if err != nil {
			return fmt.Errorf("%v proposes %s: %w", s, p.kind, err)
		}
		if err := w.deliver(s, message); err != nil {
			return fmt.Errorf("proposal %s: %w", p.kind, err)
		}
		w.counts["proposal "+string(p.kind)]++
	}
	if len(w.seats)+len(joiners) < maxGroup && w.maybe(30) {
		c, err := w.proposeItself()
		if err != nil {
			return err
		}
		joiners = append(joiners, c)
	}
	for _, s := range leaving {
		w.seats = slices.DeleteFunc(w.seats, func(x *seat) bool { return x == s })
	}
	return w.commit(committer, nil, joiners...)
}

// proposeItself lets a newcomer on talk/mls ask to be added.
func (w *world) proposeItself() (client, error) {
	identity := fmt.Sprintf("client-%03d", w.born)
	w.born++
	c, err := newOurClient(identity, w.suite, w.keys)
	if err != nil {
		return nil, err
	}
	for i := range w.psks {
		if err := c.learn(pskNumber(i)); err != nil {
			return nil, err
		}
	}
	if _, err := c.offer(); err != nil {
		return nil, err
	}
	message, err := mls.ProposeSelf(c.signer, groupName(), w.epoch, c.offers[0].pack)
	if err != nil {
		return nil, err
	}
	w.note("a newcomer proposes itself")
	w.counts["proposal self"]++
	return c, wrap("proposal of a newcomer", w.deliver(nil, message))
}

func groupName() []byte { return []byte("random group") }

// randomProposal chooses one that goes with the others of the same commit.
func (w *world) randomProposal(s, committer *seat, proposers []*seat, joiners *[]client, leaving *[]*seat) (proposal, error) {
	_, isTS := s.member.(*tsMember)
	switch x := w.rng.IntN(4); {
	case x == 0 && s != committer && !isTS: // ts-mls has no way to renew a leaf by proposal
		return proposal{kind: proposeUpdate}, nil
	case x == 1 && len(w.seats)-len(*leaving) > 3:
		for _, l := range w.seats {
			if l != committer && !slices.Contains(proposers, l) && !slices.Contains(*leaving, l) {
				*leaving = append(*leaving, l)
				leaf, err := w.leaf(l)
				return proposal{kind: proposeRemove, leaf: leaf}, err
			}
		}
	case x == 2:
		return w.newPSK()
	}
	if len(w.seats)+len(*joiners) >= maxGroup {
		return w.newPSK()
	}
	list, j, err := w.newcomers(1)
	if err != nil {
		return proposal{}, err
	}
	*joiners = append(*joiners, j...)
	return list[0], nil
}

// newPSK makes a pre-shared key that everybody knows.
func (w *world) newPSK() (proposal, error) {
	id, psk := pskNumber(w.psks)
	w.psks++
	known := w.coming
	for _, s := range w.seats {
		known = append(known, s.client)
	}
	for _, c := range known {
		if err := c.learn(id, psk); err != nil {
			return proposal{}, err
		}
	}
	return proposal{kind: proposePSK, pskID: id}, nil
}

func (w *world) mixPSK() error {
	p, err := w.newPSK()
	if err != nil {
		return err
	}
	list := []proposal{p}
	var joiners []client
	if len(w.seats) < maxGroup && w.maybe(50) {
		var adds []proposal
		if adds, joiners, err = w.newcomers(1); err != nil {
			return err
		}
		list = append(list, adds...)
	}
	return w.commit(w.pick(), list, joiners...)
}

// setExtensions changes the group context. mls-go knows only some extensions,
// and ts-mls makes wrong commits of them: it only receives these.
func (w *world) setExtensions() error {
	if err := w.settle(); err != nil {
		return err
	}
	var able []*seat
	for _, s := range w.seats {
		if _, isTS := s.member.(*tsMember); !isTS {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return nil
	}
	list := []mls.Extension{{Type: mls.ExtApplicationID, Data: fmt.Appendf(nil, "%d", w.rng.Uint32())}}
	if w.maybe(50) {
		list = append(list, mls.RequiredCapabilities{}.Extension())
	}
	return w.commit(able[w.rng.IntN(len(able))], []proposal{{kind: proposeExtensions, extensions: list}})
}

// restart lets every member of ours forget all but what it stored.
func (w *world) restart() error {
	for _, s := range w.seats {
		if m, ok := s.member.(*ourMember); ok {
			if err := m.restart(); err != nil {
				return errors.Join(fmt.Errorf("%v", s), err)
			}
		}
	}
	return nil
}
