package e2ee_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// request is a stranger's request for contact, as long as it may be.
func (d *device) request(to message.Party) message.Event {
	d.w.t.Helper()
	body := message.ContactRequest{
		From: d.member.Party(), Name: strings.Repeat("n", message.MaxLine), Greeting: strings.Repeat("g", message.MaxAbout),
		Reach: make([]byte, message.MaxReach),
	}
	e, err := message.New(message.Direct(d.member.Party(), to), d.member.Author(), message.Place{}, now(), body)
	d.w.ok(err)
	return e
}

func TestKnock_ReachesEveryDevice(t *testing.T) {
	w := newWorld(t, 1)
	a := w.device(party(1), party(1), party(2))
	var b []*device
	for range namesvc.MaxDevices {
		b = append(b, w.device(party(2), party(1), party(2)))
	}
	e := a.request(party(2))
	k, err := e2ee.SealKnock(w.src, a.key, party(2), e, offers(b...))
	w.ok(err)
	if len(k) > e2ee.MaxKnock {
		t.Errorf("a knock of %d bytes", len(k))
	}
	for _, d := range b {
		got, ref, err := e2ee.OpenKnock(k, party(2), d.secret)
		if err != nil || got.ID() != e.ID() || d.secret(ref) == nil {
			t.Fatalf("%v: %v, %v", d, got, err)
		}
		delete(d.secrets, string(ref))
		_, _, err = e2ee.OpenKnock(k, party(2), d.secret)
		w.refused(err, e2ee.ErrOthers)
	}
}

func TestKnock_HidesHowMuchItSays(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.device(party(1)), w.device(party(2))
	sizes := map[int]bool{}
	for _, greeting := range []string{"", "hello", strings.Repeat("g", 100)} {
		e, err := message.New(message.Direct(party(1), party(2)), a.member.Author(), message.Place{}, now(), message.ContactRequest{From: party(1), Greeting: greeting})
		w.ok(err)
		k, err := e2ee.SealKnock(w.src, a.key, party(2), e, offers(b))
		w.ok(err)
		if bytes.Contains(k, a.member.Account[:]) || bytes.Contains(k, a.member.Device[:]) {
			t.Error("shows who knocks")
		}
		sizes[len(k)] = true
	}
	if len(sizes) != 1 {
		t.Errorf("sizes %v", sizes)
	}
}

// TestKnock_IsForOnePartyOnly: whoever was knocked at cannot knock with it at
// somebody else's door.
func TestKnock_IsForOnePartyOnly(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.device(party(1)), w.device(party(2)), w.device(party(3))
	e := a.request(party(2))
	k, err := e2ee.SealKnock(w.src, a.key, party(2), e, offers(b))
	w.ok(err)
	_, _, err = e2ee.OpenKnock(k, party(3), c.secret)
	w.refused(err, e2ee.ErrOthers)
	_, _, err = e2ee.OpenKnock(k, party(3), b.secret)
	w.refused(err, e2ee.ErrOthers)
	_, _, err = e2ee.OpenKnock(k, message.Party{Account: party(2).Account, Generation: 2}, b.secret)
	w.refused(err, e2ee.ErrOthers)

	// B seals the signed request anew, to C.
	_, err = e2ee.SealKnock(w.src, b.key, party(3), e, offers(c))
	if err == nil {
		t.Error("sealed for somebody else")
	}
	// Even if A had signed it for C, it says that it is for B.
	forged := forge(w, e, a.key.SignKnock(signed(party(3), e)), party(3), c)
	if got, ref, err := e2ee.OpenKnock(forged, party(3), c.secret); err == nil || ref != nil || got.Body != nil {
		t.Error("a request for another conversation was taken")
	}
	right := a.request(party(3))
	got, _, err := e2ee.OpenKnock(forge(w, right, a.key.SignKnock(signed(party(3), right)), party(3), c), party(3), c.secret)
	if err != nil || got.ID() != right.ID() {
		t.Errorf("what keeps the rules, made in the same way: %v", err)
	}
	for name, sig := range map[string]key.Signature{
		"another device": b.key.SignKnock(signed(party(3), right)), "for another party": a.key.SignKnock(signed(party(2), right)),
		"for another use": a.key.SignRequest(signed(party(3), right)), "nothing": {},
	} {
		if _, _, err := e2ee.OpenKnock(forge(w, right, sig, party(3), c), party(3), c.secret); !errors.Is(err, key.ErrSignature) {
			t.Errorf("signature of %s: %v", name, err)
		}
	}
}

func TestSealKnock_RefusesWhatNobodyWouldOpen(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.device(party(1), party(1), party(2)), w.device(party(2)), w.device(party(3))
	e := a.request(party(2))
	o := b.offer()
	later := message.Party{Account: party(1).Account, Generation: 2}
	request := func(author e2ee.Member, from, to message.Party) message.Event {
		e, err := message.New(message.Direct(from, to), author.Author(), message.Place{}, now(), message.ContactRequest{From: from})
		w.ok(err)
		return e
	}
	for name, f := range map[string]func() ([]byte, error){
		"no offers":       func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), e, nil) },
		"too many offers": func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), e, make([]e2ee.Offer, 17)) },
		"an empty offer":  func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), e, []e2ee.Offer{{}}) },
		"one offer twice": func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), e, []e2ee.Offer{o, o}) },
		"a third's offer": func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), e, offers(b, c)) },
		"another's key":   func() ([]byte, error) { return e2ee.SealKnock(w.src, b.key, party(2), e, offers(b)) },
		"words":           func() ([]byte, error) { return e2ee.SealKnock(w.src, a.key, party(2), a.event("a"), offers(b)) },
		"another's account": func() ([]byte, error) {
			return e2ee.SealKnock(w.src, a.key, party(2), request(a.member, party(3), party(2)), offers(b))
		},
		"another's door": func() ([]byte, error) {
			return e2ee.SealKnock(w.src, a.key, party(2), request(a.member, party(1), party(3)), offers(b))
		},
		"another generation of one's own": func() ([]byte, error) {
			return e2ee.SealKnock(w.src, a.key, party(1), request(a.member, later, party(1)), offers(a))
		},
	} {
		if k, err := f(); err == nil || k != nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

// TestKnock_TellsADeviceOfOnesOwn: that is how one that has just come learns where
// its account's conversation with itself is.
func TestKnock_TellsADeviceOfOnesOwn(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.device(party(1)), w.device(party(1))
	e := a.request(party(1))
	k, err := e2ee.SealKnock(w.src, a.key, party(1), e, offers(b))
	w.ok(err)
	if got, _, err := e2ee.OpenKnock(k, party(1), b.secret); err != nil || got.ID() != e.ID() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOpenKnock_RefusesWhatWasChanged(t *testing.T) {
	w := newWorld(t, 1)
	a, b, twin := w.device(party(1)), w.device(party(2)), w.device(party(2))
	k, err := e2ee.SealKnock(w.src, a.key, party(2), a.request(party(2)), offers(b, twin))
	w.ok(err)
	for i := 0; i < len(k); i += stride {
		flipped := bytes.Clone(k)
		flipped[i] ^= 1
		if e, ref, err := e2ee.OpenKnock(flipped, party(2), b.secret); err == nil || ref != nil || e.Body != nil {
			t.Fatalf("opened with byte %d of %d flipped", i, len(k))
		}
	}
	for _, n := range []int{0, 1, len(k) / 2, len(k) - 1} {
		if _, _, err := e2ee.OpenKnock(k[:n], party(2), b.secret); err == nil {
			t.Errorf("opened with %d of %d bytes", n, len(k))
		}
	}
	if _, _, err := e2ee.OpenKnock(append(bytes.Clone(k), 0), party(2), b.secret); err == nil {
		t.Error("opened with a byte more")
	}
	if _, _, err := e2ee.OpenKnock(make([]byte, e2ee.MaxKnock+1), party(2), b.secret); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("too long: %v", err)
	}
	// Taken apart: without the other device's part nobody opens it.
	var apart knock
	w.ok(wire.Decode(k, &apart, e2ee.MaxKnock))
	apart.Head.Wraps = apart.Head.Wraps[:1]
	if _, _, err := e2ee.OpenKnock(wire.Encode(apart), party(2), b.secret); err == nil {
		t.Error("opened with a part left out")
	}
}
