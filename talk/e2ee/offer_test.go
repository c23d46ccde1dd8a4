package e2ee_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

func TestOffer_SaysWhoseItIsAndHowLong(t *testing.T) {
	w := newWorld(t, 1)
	d := w.device(party(1), party(1))
	d.member.Seq = 9
	o := d.offer()
	if o.Member != d.member || !o.Expires().Equal(now().Add(life)) || len(o.Ref()) != 32 || len(o.Bytes()) > e2ee.MaxOffer {
		t.Errorf("%v, %v, %x", o.Member, o.Expires(), o.Ref())
	}
	for at, want := range map[time.Duration]bool{-e2ee.Skew: true, -e2ee.Skew - time.Second: false, life: true, life + time.Second: false} {
		if _, err := e2ee.ParseOffer(o.Bytes(), now().Add(at)); (err == nil) != want {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if _, err := e2ee.ParseOffer(o.Bytes(), time.Unix(-5, 0)); err == nil {
		t.Error("good before 1970")
	}
}

func TestOffer_RefusesWhatIsNone(t *testing.T) {
	w := newWorld(t, 1)
	d, other := w.device(party(1), party(1)), w.device(party(2), party(2))
	made := func(suite mls.CipherSuite, life mls.Lifetime, change func(*mls.LeafTemplate), extensions ...mls.Extension) []byte {
		tmpl := e2ee.Template(d.member)
		if change != nil {
			change(&tmpl)
		}
		k, _, err := mls.NewKeyPackage(w.src, suite, d.key.MLS(), tmpl, life, extensions...)
		w.ok(err)
		return k.Message()
	}
	at := uint64(now().Unix())
	good := mls.Lifetime{NotBefore: at, NotAfter: at + 100}
	for name, b := range map[string][]byte{
		"nothing": nil, "rubbish": []byte("offer"), "too long": make([]byte, e2ee.MaxOffer+1),
		"a Welcome":         d.create(1, w.device(party(1), party(1))),
		"a byte more":       append(d.offer().Bytes(), 0),
		"another suite":     made(mls.X25519AES128, good, nil),
		"a long life":       made(mls.XWingAES128, mls.Lifetime{NotAfter: 1 << 60}, nil),
		"no life":           made(mls.XWingAES128, mls.Lifetime{NotBefore: at + 1, NotAfter: at - 1}, nil),
		"extensions":        made(mls.XWingAES128, good, nil, mls.Extension{Type: e2ee.ExtTerms}),
		"extensions inside": made(mls.XWingAES128, good, func(l *mls.LeafTemplate) { l.Extensions = []mls.Extension{{Type: e2ee.ExtTerms}} }),
		"other purposes":    made(mls.XWingAES128, good, func(l *mls.LeafTemplate) { l.Capabilities = mls.Capabilities{} }),
		"a bare name":       made(mls.XWingAES128, good, func(l *mls.LeafTemplate) { l.Credential = mls.BasicCredential([]byte("alice")) }),
		"another's name":    made(mls.XWingAES128, good, func(l *mls.LeafTemplate) { l.Credential = e2ee.Template(other.member).Credential }),
		"no generation": made(mls.XWingAES128, good, func(l *mls.LeafTemplate) {
			l.Credential = e2ee.Template(e2ee.Member{Account: d.member.Account, Device: d.member.Device}).Credential
		}),
	} {
		if o, err := e2ee.ParseOffer(b, now()); err == nil {
			t.Errorf("%s: taken for an offer of %v", name, o)
		}
	}
	b := d.offer().Bytes()
	for i := 0; i < len(b); i += stride {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1
		if _, err := e2ee.ParseOffer(flipped, now()); err == nil {
			t.Errorf("taken with byte %d flipped", i)
		}
	}
}

func TestNewOffer_RefusesWhatNobodyWouldTake(t *testing.T) {
	w := newWorld(t, 1)
	d := w.device(party(1), party(1))
	for name, f := range map[string]func() (e2ee.Offer, []byte, error){
		"another's key": func() (e2ee.Offer, []byte, error) {
			return e2ee.NewOffer(w.src, now(), d.key, w.device(party(1)).member, life)
		},
		"no party": func() (e2ee.Offer, []byte, error) {
			return e2ee.NewOffer(w.src, now(), d.key, e2ee.Member{Device: d.member.Device}, life)
		},
		"no life":         func() (e2ee.Offer, []byte, error) { return e2ee.NewOffer(w.src, now(), d.key, d.member, 0) },
		"too long a life": func() (e2ee.Offer, []byte, error) { return e2ee.NewOffer(w.src, now(), d.key, d.member, e2ee.MaxLife) },
	} {
		if _, secret, err := f(); err == nil || secret != nil {
			t.Errorf("%s: made", name)
		}
	}
	longest, _, err := e2ee.NewOffer(w.src, now(), d.key, d.member, e2ee.MaxLife-e2ee.Skew)
	w.ok(err)
	_, err = e2ee.ParseOffer(longest.Bytes(), now())
	w.ok(err)
}

func TestSafetyNumber_StandsForBothParties(t *testing.T) {
	a, b := party(1), party(2)
	later := message.Party{Account: a.Account, Generation: 2}
	n := e2ee.SafetyNumber(a, b)
	if n != e2ee.SafetyNumber(b, a) {
		t.Error("not the same for both")
	}
	if len(n) != 71 || n[5] != ' ' || n[65] != ' ' {
		t.Errorf("%q", n)
	}
	for name, other := range map[string]string{"another generation": e2ee.SafetyNumber(later, b), "another account": e2ee.SafetyNumber(a, party(3))} {
		if other == n {
			t.Errorf("the same for %s", name)
		}
	}
}
