package e2ee_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// A hostile member has keys and keeps to no rule: it uses the MLS group as it is.

const foreignProposal mls.ProposalType = 0xF0F0

// anything accepts whatever a hostile member makes.
func anything() mls.Policy {
	return mls.Policy{Check: func(mls.Candidate) error { return nil }, KeepEpochs: 3, Proposals: []mls.ProposalType{foreignProposal}}
}

// bare returns the device's group without this package's rules.
func (d *device) bare() *mls.Group {
	d.w.t.Helper()
	g, err := mls.Load(d.stored(), anything(), d.key.MLS())
	d.w.ok(err)
	return g
}

// leaf returns where a member sits.
func (d *device) leaf(of *device) mls.LeafIndex {
	d.w.t.Helper()
	for _, m := range e2ee.Bare(d.s).Members() {
		if bytes.Equal(m.Leaf.SignatureKey, of.member.Device[:]) {
			return m.Index
		}
	}
	d.w.t.Fatalf("%v is no member", of)
	return 0
}

// payload is the payload of a message as it is encoded.
type payload struct {
	_     struct{} `cbor:",toarray"`
	Kind  uint16
	Bytes []byte
}

// unchanged runs f and checks that the session's state is what it was.
func (d *device) unchanged(f func()) {
	d.w.t.Helper()
	before := e2ee.Bare(d.s).Snapshot()
	f()
	same := func(a, b mls.Record) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }
	if !slices.EqualFunc(before, e2ee.Bare(d.s).Snapshot(), same) || !d.s.TakeDelta().Empty() {
		d.w.t.Errorf("%v: the state has changed", d)
	}
}

func TestOpen_RefusesPayloadsAgainstTheRules(t *testing.T) {
	w, all := pair(t, 2, 1)
	evil, twin, victim := all[0], all[1], all[2]
	raw := evil.bare()
	other := message.Direct(party(1), party(3))
	own, err := message.New(other, evil.member.Author(), message.Place{Seq: 1, Clock: 1}, now(), message.Text{Text: "a"})
	w.ok(err)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"an event of another device of the account", wire.Encode(payload{Bytes: twin.event("a").Bytes()}), e2ee.ErrForbidden},
		{"an event of the victim", wire.Encode(payload{Bytes: victim.event("a").Bytes()}), e2ee.ErrForbidden},
		{"an event of another conversation", wire.Encode(payload{Bytes: own.Bytes()}), e2ee.ErrForbidden},
		{"a record for one's own devices", wire.Encode(payload{Kind: 1, Bytes: []byte("sync")}), e2ee.ErrForbidden},
		{"an event that is none", wire.Encode(payload{Bytes: []byte("event")}), e2ee.ErrForbidden},
		{"no payload", []byte("payload"), e2ee.ErrForbidden},
		{"nothing", nil, e2ee.ErrForbidden},
		{"a payload with a byte more", append(wire.Encode(payload{Bytes: evil.event("a").Bytes()}), 0), e2ee.ErrForbidden},
		{"a kind of later versions", wire.Encode(payload{Kind: 2, Bytes: []byte("later")}), nil},
	} {
		m, err := raw.Encrypt(w.src, c.bytes, mls.Framing{})
		w.ok(err)
		o, err := victim.s.Open(m)
		if !errors.Is(err, c.want) || o.Payload.Event != nil || o.Payload.Sync != nil || o.Change != nil {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
		victim.save()
		victim.reload()
		if _, err := victim.s.Open(m); !errors.Is(err, e2ee.ErrSpent) {
			t.Errorf("%s: once more: %v", c.name, err)
		}
	}
	e := evil.event("fine")
	m, err := raw.Encrypt(w.src, wire.Encode(payload{Bytes: e.Bytes()}), mls.Framing{})
	w.ok(err)
	victim.hears(m, evil, "fine")
}

func TestSeal_RefusesWhatOthersWouldRefuse(t *testing.T) {
	w, all := pair(t, 2, 1)
	own, twins := all[0].event("a"), all[1].event("a")
	elsewhere, err := message.New(message.Direct(party(1), party(3)), all[0].member.Author(), message.Place{Seq: 1, Clock: 1}, now(), message.Text{Text: "a"})
	w.ok(err)
	for name, p := range map[string]e2ee.Payload{
		"nothing": {}, "both": {Event: &own, Sync: []byte("sync")}, "an empty record": {Sync: []byte{}},
		"another device's event": {Event: &twins}, "an event of another conversation": {Event: &elsewhere}, "a record for own devices": {Sync: []byte("sync")},
	} {
		all[0].unchanged(func() {
			if m, err := all[0].s.Seal(w.src, p); err == nil || m != nil {
				t.Errorf("%s was sealed", name)
			}
		})
	}
}

// commits are what a hostile member may commit, by the rule that it breaks.
func commits(w *world, evil, twin, victim *device) map[string]mls.CommitOptions {
	stranger := w.device(party(3), party(1), party(3))
	ghost := w.unlisted(party(2), party(1), party(2))
	later := w.unlisted(message.Party{Account: party(1).Account, Generation: 2}, evil.parties...)
	w.listed = append(w.listed, later.member)
	add := func(k *mls.KeyPackage) mls.CommitOptions {
		return mls.CommitOptions{Path: true, Proposals: []mls.Proposal{mls.AddProposal(k)}}
	}
	made := func(d *device, change func(*mls.LeafTemplate), extensions ...mls.Extension) *mls.KeyPackage {
		tmpl := e2ee.Template(d.member)
		change(&tmpl)
		k, _, err := mls.NewKeyPackage(w.src, mls.XWingAES128, d.key.MLS(), tmpl, mls.Lifetime{NotAfter: 1 << 40}, extensions...)
		w.ok(err)
		return k
	}
	keep := func(*mls.LeafTemplate) {}
	fresh := w.device(party(1), evil.parties...)
	psk, err := mls.ResumptionPSKProposal(w.src, e2ee.Bare(evil.s).ID(), e2ee.Bare(evil.s).Epoch())
	w.ok(err)
	extended := append(slices.Clone(e2ee.Bare(evil.s).Extensions()), outside(stranger))
	impostor, successor := e2ee.Template(twin.member), e2ee.Template(fresh.member)
	moved := evil.member
	moved.Account = party(2).Account
	elsewhere := e2ee.Template(moved)
	return map[string]mls.CommitOptions{
		"removes a listed device":        {Path: true, Proposals: []mls.Proposal{mls.RemoveProposal(evil.leaf(twin))}},
		"removes this listed device":     {Path: true, Proposals: []mls.Proposal{mls.RemoveProposal(evil.leaf(victim))}},
		"adds a device that is unlisted": add(made(ghost, keep)),
		"adds a third party's device":    add(made(stranger, keep)),
		"adds another generation":        add(made(later, keep)),
		"adds a device without a name":   add(made(fresh, func(l *mls.LeafTemplate) { l.Credential = mls.BasicCredential(nil) })),
		"adds a device with another's name": add(made(ghost, func(l *mls.LeafTemplate) {
			l.Credential = e2ee.Template(fresh.member).Credential
		})),
		"adds a leaf with extensions": add(made(fresh, func(l *mls.LeafTemplate) {
			l.Extensions = []mls.Extension{{Type: e2ee.ExtTerms, Data: make([]byte, 100)}}
		})),
		"mixes in a key":                {Path: true, Proposals: []mls.Proposal{psk}},
		"changes the terms":             {Path: true, Proposals: []mls.Proposal{mls.ExtensionsProposal(extended)}},
		"ends the group":                {Path: true, Proposals: []mls.Proposal{mls.ReInitProposal(mls.ReInit{GroupID: []byte("next"), Version: 1, Suite: mls.XWingAES128})}},
		"does not renew its keys":       add(made(fresh, keep)),
		"takes another device's name":   {Path: true, Template: &impostor},
		"takes another account's name":  {Path: true, Template: &elsewhere},
		"takes another device's key":    {Path: true, Template: &successor, Signer: fresh.key.MLS()},
		"speaks for a later generation": {Path: true, Template: ptr(e2ee.Template(e2ee.Member{Account: evil.member.Account, Generation: 2, Device: evil.member.Device}))},
	}
}

func ptr[T any](v T) *T { return &v }

func TestOpen_RefusesCommitsAgainstTheRules(t *testing.T) {
	w, all := pair(t, 2, 2)
	evil, twin, victim, witness := all[0], all[1], all[2], all[3]
	for name, o := range commits(w, evil, twin, victim) {
		o.Path = o.Path && name != "does not renew its keys"
		c, err := evil.bare().Commit(w.src, o)
		if err != nil {
			t.Errorf("%s: cannot be made: %v", name, err)
			continue
		}
		for _, d := range []*device{victim, witness} {
			d.unchanged(func() {
				if o, err := d.s.Open(c.Message); !errors.Is(err, e2ee.ErrForbidden) || o.Change != nil {
					t.Errorf("%s: %+v, %v", name, o, err)
				}
			})
		}
	}
	// What keeps the rules passes, made in the same way.
	c, err := evil.bare().Commit(w.src, mls.CommitOptions{Path: true})
	w.ok(err)
	victim.follow(c.Message)
}

func TestOpen_RefusesAProposalByItself(t *testing.T) {
	w, all := pair(t, 2, 1)
	evil, twin, victim := all[0], all[1], all[2]
	g := evil.bare()
	m, err := g.Propose(w.src, mls.RemoveProposal(evil.leaf(twin)), mls.Framing{})
	w.ok(err)
	victim.unchanged(func() {
		_, err = victim.s.Open(m)
		w.refused(err, e2ee.ErrForbidden)
	})
	// A commit that refers to it is refused as well: nobody remembers it.
	c, err := g.Commit(w.src, mls.CommitOptions{Path: true})
	w.ok(err)
	victim.unchanged(func() {
		_, err = victim.s.Open(c.Message)
		w.refused(err, e2ee.ErrForbidden)
	})
}

func TestOpen_RefusesTheCommitOfADeviceThatIsNotListed(t *testing.T) {
	w, all := pair(t, 2, 1)
	evil, victim := all[0], all[2]
	w.delist(evil)
	c, err := evil.bare().Commit(w.src, mls.CommitOptions{Path: true})
	w.ok(err)
	victim.unchanged(func() {
		_, err = victim.s.Open(c.Message)
		w.refused(err, e2ee.ErrForbidden)
	})
	if _, err := evil.s.Commit(w.src, now(), w.listed, nil); !errors.Is(err, e2ee.ErrForbidden) {
		t.Errorf("makes one itself: %v", err)
	}
}

// TestOpen_AsksTheJudgeLast: a judge costs a network, so nobody but a member who
// keeps all other rules makes this device ask.
func TestOpen_AsksTheJudgeLast(t *testing.T) {
	w, all := pair(t, 2, 2)
	evil, twin, victim := all[0], all[1], all[2]
	for _, name := range []string{"mixes in a key", "does not renew its keys", "takes another device's key", "adds a third party's device"} {
		o := commits(w, evil, twin, victim)[name]
		o.Path = name != "does not renew its keys"
		c, err := evil.bare().Commit(w.src, o)
		w.ok(err)
		w.asked = nil
		_, err = victim.s.Open(c.Message)
		w.refused(err, e2ee.ErrForbidden)
		if len(w.asked) != 0 {
			t.Errorf("%s: the judge was asked about %v", name, w.asked)
		}
	}
}

// TestOpen_AJudgeWithoutAnswerIsNoJudgement: nobody is thrown out, and nobody
// accused, because the chain cannot be asked.
func TestOpen_AJudgeWithoutAnswerIsNoJudgement(t *testing.T) {
	w, all := pair(t, 2, 2)
	maker, lost, victim := all[0], all[1], all[2]
	joiner := w.device(party(2), maker.parties...)
	w.delist(lost)
	c := maker.commit(joiner)
	plain := errors.New("no route")
	for name, answer := range map[string]error{"unavailable": errDown, "plain": plain, "stale": wire.Errorf(wire.Stale, "old"), "conflict": wire.Errorf(wire.Conflict, "two answers")} {
		for i := range 3 { // the committer, the one added, the one removed
			asked := 0
			o := victim.options()
			o.Judge = func(m e2ee.Member) error {
				if asked++; asked == i+1 {
					return answer
				}
				return w.judge(m)
			}
			s, err := e2ee.Load(o, victim.stored())
			w.ok(err)
			_, err = s.Open(c.Message)
			if !errors.Is(err, answer) || errors.Is(err, e2ee.ErrForbidden) || wire.CodeOf(err) != wire.CodeOf(answer) || !s.TakeDelta().Empty() {
				t.Errorf("%s, question %d: %v", name, i, err)
			}
		}
	}
	victim.follow(c.Message)
}

func TestOpen_RefusesWhatIsNotOfThisGroup(t *testing.T) {
	w, all := pair(t, 1, 1)
	_, others := pair(t, 2, 1)
	a, b := all[0], all[1]
	public, err := a.bare().Commit(w.src, mls.CommitOptions{Path: true, Framing: mls.Framing{Public: true}})
	w.ok(err)
	gi, err := a.bare().GroupInfo(mls.GroupInfoOptions{External: true})
	w.ok(err)
	parsed, err := mls.ParseMessage(gi)
	w.ok(err)
	_, external, err := mls.JoinExternal(w.src, parsed.GroupInfo, mls.ExternalJoin{Signer: others[1].key.MLS(), Template: e2ee.Template(others[1].member), Policy: anything()})
	w.ok(err)
	for name, m := range map[string][]byte{
		"a message of another group": others[0].say("a"), "a public commit": public.Message, "an external commit": external,
		"an offer": a.offer().Bytes(), "a group info": gi,
	} {
		b.unchanged(func() {
			if _, err := b.s.Open(m); !errors.Is(err, e2ee.ErrOthers) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	m := a.say("hello")
	for i := range m {
		b.unchanged(func() {
			flipped := bytes.Clone(m)
			flipped[i] ^= 1
			if _, err := b.s.Open(flipped); err == nil || errors.Is(err, e2ee.ErrForbidden) {
				t.Errorf("byte %d flipped: %v", i, err)
			}
		})
	}
	b.unchanged(func() {
		if _, err := b.s.Open(make([]byte, e2ee.MaxMessage+1)); err == nil {
			t.Error("a message too long was opened")
		}
	})
	b.hears(m, a, "hello")
}

func TestOpen_SaysWhatToDoWithAMessageThatCannotBeRead(t *testing.T) {
	w, all := pair(t, 1, 1)
	a, b := all[0], all[1]
	spent, late := a.say("one"), a.say("late")
	b.hears(spent, a, "one")
	_, err := b.s.Open(spent)
	w.refused(err, e2ee.ErrSpent)
	_, err = a.s.Open(spent)
	w.refused(err, e2ee.ErrSpent)
	var last *e2ee.Change
	for range 3 {
		last = a.commit()
		a.merge(last)
		b.follow(last.Message)
	}
	_, err = a.s.Open(last.Message)
	w.refused(err, e2ee.ErrLate)
	c := a.commit()
	_, err = a.s.Open(c.Message)
	w.refused(err, e2ee.ErrSpent)
	a.merge(c)
	early := a.say("early")
	_, err = b.s.Open(early)
	w.refused(err, e2ee.ErrEarly)
	b.hears(late, a, "late") // three epochs ago
	b.follow(c.Message)
	b.hears(early, a, "early")
	rubbish := a.say("damaged")
	clear(rubbish[len(rubbish)-64:])
	_, err = b.s.Open(rubbish)
	w.refused(err, e2ee.ErrBroken)
	for range 1002 {
		early = a.say("lost")
	}
	_, err = b.s.Open(early)
	w.refused(err, e2ee.ErrBroken)
	_, err = b.s.Open(spent) // four epochs ago
	w.refused(err, e2ee.ErrLate)
}

func TestCommit_TakesOnlyOffersThatAreDue(t *testing.T) {
	w, all := pair(t, 2, 1)
	a := all[0]
	ghost, fresh := w.unlisted(party(1), a.parties...), w.device(party(1), a.parties...)
	stranger := w.device(party(3), party(1), party(3))
	expired, _, err := e2ee.NewOffer(w.src, now().Add(-2*life), fresh.key, fresh.member, life)
	w.ok(err)
	o := fresh.offer()
	for name, list := range map[string][]e2ee.Offer{
		"of an unlisted device": offers(ghost), "of a third party": offers(stranger), "of a member": offers(all[1]), "of itself": offers(a),
		"one device twice": {o, fresh.offer()}, "that has expired": {expired}, "that is empty": {{}},
	} {
		a.unchanged(func() {
			if c, err := a.s.Commit(w.src, now(), w.listed, list); err == nil || c != nil {
				t.Errorf("takes an offer %s", name)
			}
			// Create has the same rules but for members.
			if name == "of a member" {
				return
			}
			if s, _, err := e2ee.Create(w.src, now(), a.options(), 2, list); err == nil || s != nil {
				t.Errorf("starts with an offer %s", name)
			}
		})
	}
}

func TestMerge_TakesOnlyWhatWasOpened(t *testing.T) {
	w, all := pair(t, 2, 1)
	evil, twin, victim := all[0], all[1], all[2]
	c, err := evil.bare().Commit(w.src, mls.CommitOptions{Path: true, Proposals: []mls.Proposal{mls.RemoveProposal(evil.leaf(twin))}})
	w.ok(err)
	victim.unchanged(func() {
		if err := victim.s.Merge(&e2ee.Change{Message: c.Message, Epoch: victim.s.Epoch()}); err == nil {
			t.Error("a change that nobody checked was merged")
		}
	})
	good := twin.commit()
	o, err := victim.s.Open(good.Message)
	w.ok(err)
	o.Change.Message = c.Message // what is merged is what was checked
	victim.merge(o.Change)
	if len(victim.s.Members()) != 3 {
		t.Error("another commit was merged")
	}
	w.refused(victim.s.Merge(o.Change), e2ee.ErrLate)
	w.refused(victim.s.Merge(good), e2ee.ErrLate)
}
