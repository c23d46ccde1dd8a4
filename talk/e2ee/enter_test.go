package e2ee_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

func TestEnter_LeadsEveryoneIntoOneGroup(t *testing.T) {
	w, all := pair(t, 2, 3)
	for _, d := range all {
		if d.s.Instance() != 1 || d.s.Epoch() != 1 || d.s.Removed() || len(d.s.Members()) != 5 || !bytes.Equal(d.s.Group(), all[0].s.Group()) || len(d.s.Group()) != 32 {
			t.Errorf("%v is in %v", d, d.s)
		}
		if d.s.Conversation() != message.Direct(party(2), party(1)) {
			t.Error("another conversation")
		}
		if remove, add := d.s.Due(w.listed); remove != nil || add != nil {
			t.Errorf("due: %v, %v", remove, add)
		}
	}
}

func TestEnter_AnAccountsDevicesHaveAConversationOfTheirOwn(t *testing.T) {
	w := newWorld(t, 1)
	a := w.device(party(1), party(1))
	if welcome := a.create(1); welcome != nil {
		t.Error("a Welcome for nobody")
	}
	b := w.device(party(1), party(1))
	c := a.commit(b)
	a.merge(c)
	b.enter(c.Welcome)
	m, err := a.s.Seal(w.src, e2ee.Payload{Sync: []byte("read up to 7")})
	w.ok(err)
	a.save()
	o, err := b.s.Open(m)
	w.ok(err)
	if string(o.Payload.Sync) != "read up to 7" || o.Payload.Event != nil || !o.From.Is(a.member) {
		t.Errorf("%+v", o)
	}
	b.hears(a.say("note to myself"), a, "note to myself")

	largest := make([]byte, message.MaxEvent)
	m, err = a.s.Seal(w.src, e2ee.Payload{Sync: largest})
	w.ok(err)
	o, err = b.s.Open(m)
	if err != nil || len(o.Payload.Sync) != len(largest) {
		t.Errorf("the largest record: %v", err)
	}
	if _, err := a.s.Seal(w.src, e2ee.Payload{Sync: append(largest, 0)}); err == nil {
		t.Error("a larger record was sealed")
	}
}

// welcome makes a Welcome that breaks rules: a group with these extensions, under
// this id, by one device for others.
func (d *device) welcome(id []byte, extensions []mls.Extension, list ...*device) []byte {
	d.w.t.Helper()
	g, err := mls.Create(d.w.src, mls.XWingAES128, id, d.key.MLS(), e2ee.Template(d.member), extensions, anything())
	d.w.ok(err)
	var adds []mls.Proposal
	for _, o := range list {
		adds = append(adds, mls.AddProposal(e2ee.KeyPackage(o.offer())))
	}
	c, err := g.Commit(d.w.src, mls.CommitOptions{Proposals: adds, Path: true})
	d.w.ok(err)
	return c.Welcome
}

// outside lets somebody propose who is no member.
func outside(d *device) mls.Extension {
	return mls.ExternalSendersExtension([]mls.ExternalSender{{SignatureKey: d.member.Device[:], Credential: e2ee.Template(d.member).Credential}})
}

func TestEnter_RefusesWelcomesAgainstTheRules(t *testing.T) {
	w := newWorld(t, 1)
	evil, victim := w.device(party(1), party(1), party(2)), w.device(party(2), party(1), party(2))
	stranger := w.device(party(3), party(1), party(3))
	id := bytes.Repeat([]byte{7}, 32)
	good := e2ee.Terms(evil.options(), 1)
	self := w.device(party(2), party(2))
	many := make([]*device, 0, e2ee.MaxMembers)
	for range e2ee.MaxMembers {
		many = append(many, w.device(party(1), evil.parties...))
	}
	for _, c := range []struct {
		name    string
		welcome []byte
		want    error
	}{
		{"a third party's device", evil.welcome(id, good, victim, stranger), e2ee.ErrForbidden},
		{"a sender of a third party", stranger.welcome(id, good, victim), e2ee.ErrForbidden},
		{"another conversation", evil.welcome(id, e2ee.Terms(stranger.options(), 1), victim), e2ee.ErrOthers},
		{"one's own conversation", evil.welcome(id, e2ee.Terms(self.options(), 1), victim), e2ee.ErrOthers},
		{"no terms", evil.welcome(id, nil, victim), e2ee.ErrOthers},
		{"instance 0", evil.welcome(id, e2ee.Terms(evil.options(), 0), victim), e2ee.ErrForbidden},
		{"an instance out of range", evil.welcome(id, e2ee.Terms(evil.options(), e2ee.MaxInstance+1), victim), e2ee.ErrForbidden},
		{"terms that are not required", evil.welcome(id, good[1:], victim), e2ee.ErrForbidden},
		{"terms with a byte more", evil.welcome(id, []mls.Extension{good[0], {Type: good[1].Type, Data: append(bytes.Clone(good[1].Data), 0)}}, victim), e2ee.ErrForbidden},
		{"somebody outside who may propose", evil.welcome(id, append(good[:2:2], outside(stranger)), victim), e2ee.ErrForbidden},
		{"a short group id", evil.welcome(id[1:], good, victim), e2ee.ErrForbidden},
		{"another device", evil.welcome(id, good, self), e2ee.ErrOthers},
		{"too many members", many[0].welcome(id, good, append(many[1:], victim)...), e2ee.ErrForbidden},
		{"no Welcome", evil.offer().Bytes(), nil},
	} {
		s, ref, err := e2ee.Enter(now(), victim.options(), c.welcome, victim.secret)
		if err == nil || s != nil || ref != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if stale := new(e2ee.StaleError); errors.As(err, &stale) {
			t.Errorf("%s: called stale", c.name)
		}
	}
	victim.enter(evil.welcome(id, good, victim))
}

// TestEnter_RefusesMembersWhoAreNotListed: such a Welcome says which instance is to
// be overtaken.
func TestEnter_RefusesMembersWhoAreNotListed(t *testing.T) {
	w := newWorld(t, 1)
	a, b, victim := w.device(party(1), party(1), party(2)), w.device(party(2), party(1), party(2)), w.device(party(2), party(1), party(2))
	welcome := a.create(5, b, victim)
	for name, gone := range map[string]*device{"the sender": a, "a member": b, "this device": victim} {
		listed := w.listed
		w.listed = nil
		for _, m := range listed {
			if !m.Is(gone.member) {
				w.listed = append(w.listed, m)
			}
		}
		_, _, err := e2ee.Enter(now(), victim.options(), welcome, victim.secret)
		var stale *e2ee.StaleError
		if !errors.As(err, &stale) || !errors.Is(err, e2ee.ErrForbidden) {
			t.Fatalf("%s: %v", name, err)
		}
		if stale.Instance != 5 || !bytes.Equal(stale.Group, a.s.Group()) || !stale.From.Is(a.member) {
			t.Errorf("%s: %+v", name, stale)
		}
		w.listed = listed
	}
	w.down = true
	_, _, err := e2ee.Enter(now(), victim.options(), welcome, victim.secret)
	w.refused(err, errDown)
	if errors.Is(err, e2ee.ErrForbidden) {
		t.Error("accuses without a judgement")
	}
	w.down = false
	victim.enter(welcome)
}

func TestEnter_NeedsAnOfferOfThisDeviceThatIsGood(t *testing.T) {
	w := newWorld(t, 1)
	a, b, twin := w.device(party(1), party(1), party(2)), w.device(party(2), party(1), party(2)), w.device(party(2), party(1), party(2))
	welcome := a.create(1, b)
	if !e2ee.IsWelcome(welcome) || e2ee.IsWelcome(a.say("a")) || e2ee.IsWelcome(nil) {
		t.Error("what is a Welcome?")
	}
	_, _, err := e2ee.Enter(now(), twin.options(), welcome, twin.secret)
	w.refused(err, e2ee.ErrOthers)
	_, _, err = e2ee.Enter(now(), twin.options(), welcome, b.secret)
	w.refused(err, e2ee.ErrOthers)
	if _, _, err := e2ee.Enter(now().Add(life+e2ee.Travel+1e9), b.options(), welcome, b.secret); err == nil {
		t.Error("entered long after the offer expired")
	}
	other := b.offer()
	if _, _, err := e2ee.Enter(now(), b.options(), welcome, func([]byte) []byte { return b.secret(other.Ref()) }); err == nil {
		t.Error("entered with the secret of another offer")
	}
	for i := range 40 {
		flipped := bytes.Clone(welcome)
		flipped[i*len(welcome)/40] ^= 1
		if s, _, err := e2ee.Enter(now(), b.options(), flipped, b.secret); err == nil || s != nil {
			t.Errorf("entered by a Welcome with byte %d flipped", i*len(welcome)/40)
		}
	}
	b.enter(welcome)
	// Used, its secret is gone.
	_, _, err = e2ee.Enter(now(), b.options(), welcome, b.secret)
	w.refused(err, e2ee.ErrOthers)
}

func TestGroupOf_FindsTheSession(t *testing.T) {
	w, all := pair(t, 1, 1)
	id, epoch, ok := e2ee.GroupOf(all[0].say("a"))
	if !ok || epoch != 1 || !bytes.Equal(id, all[0].s.Group()) {
		t.Error(id, epoch, ok)
	}
	public, err := all[0].bare().Commit(w.src, mls.CommitOptions{Framing: mls.Framing{Public: true}})
	w.ok(err)
	if !e2ee.IsCommit(all[0].commit().Message) || e2ee.IsCommit(all[0].say("a")) {
		t.Error("what is a commit?")
	}
	for _, m := range [][]byte{nil, []byte("rubbish"), public.Message, all[0].offer().Bytes(), make([]byte, e2ee.MaxMessage+1)} {
		if _, _, ok := e2ee.GroupOf(m); ok || e2ee.IsCommit(m) {
			t.Errorf("%.10x has a group", m)
		}
	}
}

func TestNewer_IsTheSameForEverybody(t *testing.T) {
	low, high := []byte{1}, []byte{2}
	for _, c := range []struct {
		name string
		a    uint64
		ag   []byte
		b    uint64
		bg   []byte
		want bool
	}{
		{"the first", 1, high, 0, nil, true},
		{"the next", 2, high, 1, low, true},
		{"the one before", 1, low, 2, high, false},
		{"two at once, the lower", 2, low, 2, high, true},
		{"two at once, the higher", 2, high, 2, low, false},
		{"the same", 2, low, 2, low, false},
		{"a step too far", e2ee.MaxStep + 2, low, 1, high, false},
		{"the furthest step", e2ee.MaxStep + 1, low, 1, high, true},
	} {
		if got := e2ee.Newer(c.a, c.ag, c.b, c.bg); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestOptions_AreChecked(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.device(party(1), party(1), party(2)), w.device(party(2), party(1), party(2))
	for name, change := range map[string]func(*e2ee.Options){
		"no judge":      func(o *e2ee.Options) { o.Judge = nil },
		"another key":   func(o *e2ee.Options) { o.Signer = b.key },
		"no party":      func(o *e2ee.Options) { o.Parties = nil },
		"three parties": func(o *e2ee.Options) { o.Parties = []message.Party{party(1), party(2), party(3)} },
		"one account twice": func(o *e2ee.Options) {
			o.Parties = []message.Party{party(1), {Account: party(1).Account, Generation: 2}}
		},
		"neither party": func(o *e2ee.Options) { o.Parties = []message.Party{party(3), party(2)} },
		"no generation": func(o *e2ee.Options) { o.Parties = []message.Party{party(1), {Account: party(2).Account}} },
		"a later self":  func(o *e2ee.Options) { o.Self.Generation = 2 },
	} {
		o := a.options()
		change(&o)
		if s, _, err := e2ee.Create(w.src, now(), o, 1, nil); err == nil || s != nil {
			t.Errorf("%s: Create takes it", name)
		}
		a.create(1)
		if s, err := e2ee.Load(o, a.stored()); err == nil || s != nil {
			t.Errorf("%s: Load takes it", name)
		}
	}
	for _, instance := range []uint64{0, e2ee.MaxInstance + 1} {
		if s, _, err := e2ee.Create(w.src, now(), a.options(), instance, nil); err == nil || s != nil {
			t.Errorf("instance %d was made", instance)
		}
	}
	w.delist(b)
	_, _, err := e2ee.Create(w.src, now(), a.options(), 1, offers(b))
	w.refused(err, e2ee.ErrForbidden)
	w.down = true
	_, _, err = e2ee.Create(w.src, now(), a.options(), 1, nil)
	w.refused(err, errDown)
}

func TestLoad_RefusesTheStateOfAnother(t *testing.T) {
	w, all := pair(t, 2, 1)
	_, err := e2ee.Load(all[1].options(), all[0].stored())
	w.refused(err, e2ee.ErrOthers)
	o := all[0].options()
	o.Parties = []message.Party{party(1), party(3)}
	_, err = e2ee.Load(o, all[0].stored())
	w.refused(err, e2ee.ErrOthers)
	if s, err := e2ee.Load(all[0].options(), nil); err == nil || s != nil {
		t.Error("loaded from nothing")
	}
}
