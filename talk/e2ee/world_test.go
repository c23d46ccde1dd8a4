package e2ee_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// world is a chain that lists devices, and the people who have them.
type world struct {
	t      testing.TB
	src    *rand.ChaCha8
	rng    *rand.Rand
	listed []e2ee.Member
	down   bool // the chain cannot be asked
	asked  []e2ee.Member
}

func newWorld(t testing.TB, seed uint64) *world {
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 0xe2})
	return &world{t: t, src: src, rng: rand.New(src)}
}

var errDown = wire.Errorf(wire.Unavailable, "no source answers")

// judge asks the world's chain.
func (w *world) judge(m e2ee.Member) error {
	w.asked = append(w.asked, m)
	if w.down {
		return errDown
	}
	if !slices.ContainsFunc(w.listed, m.Is) {
		return wire.Errorf(wire.Unauthorized, "%v is not listed", m)
	}
	return nil
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

func now() time.Time { return time.Unix(1_800_000_000, 0) }

const life = 30 * 24 * time.Hour

// stride is how far apart the bytes are that tests of public-key structures flip:
// each costs a millisecond. It divides no field's size.
const stride = 13

// device is a device of somebody with what it stores.
type device struct {
	w       *world
	member  e2ee.Member
	key     key.Device
	parties []message.Party
	secrets map[string][]byte // of offers, by ref
	records map[string][]byte
	s       *e2ee.Session
	seq     uint64
	clock   uint64
	prev    message.ID
}

func party(n byte) message.Party {
	return message.Party{Account: namesvc.AccountID{n}, Generation: 1}
}

// device makes a device of a party that the chain does not list yet.
func (w *world) unlisted(p message.Party, parties ...message.Party) *device {
	k, err := key.NewDevice(w.src)
	w.ok(err)
	return &device{
		w: w, key: k, parties: parties, secrets: map[string][]byte{}, records: map[string][]byte{},
		member: e2ee.Member{Account: p.Account, Generation: p.Generation, Device: k.Public(), Seq: 1},
	}
}

func (w *world) device(p message.Party, parties ...message.Party) *device {
	d := w.unlisted(p, parties...)
	w.listed = append(w.listed, d.member)
	return d
}

// delist takes a device off the chain.
func (w *world) delist(d *device) { w.listed = slices.DeleteFunc(w.listed, d.member.Is) }

func (d *device) options() e2ee.Options {
	return e2ee.Options{Self: d.member, Signer: d.key, Judge: d.w.judge, Parties: d.parties}
}

// offer makes an offer and keeps its secret. What others get is parsed anew.
func (d *device) offer() e2ee.Offer {
	d.w.t.Helper()
	o, secret, err := e2ee.NewOffer(d.w.src, now(), d.key, d.member, life)
	d.w.ok(err)
	d.secrets[string(o.Ref())] = secret
	parsed, err := e2ee.ParseOffer(o.Bytes(), now())
	d.w.ok(err)
	return parsed
}

func offers(list ...*device) []e2ee.Offer {
	out := make([]e2ee.Offer, len(list))
	for i, d := range list {
		out[i] = d.offer()
	}
	return out
}

func (d *device) secret(ref []byte) []byte { return d.secrets[string(ref)] }

// save writes the session's delta.
func (d *device) save() {
	delta := d.s.TakeDelta()
	for _, r := range delta.Put {
		d.records[r.Key] = r.Value
	}
	for _, k := range delta.Delete {
		delete(d.records, k)
	}
}

func (d *device) stored() []mls.Record {
	var list []mls.Record
	for k, v := range d.records {
		list = append(list, mls.Record{Key: k, Value: bytes.Clone(v)})
	}
	return list
}

// reload forgets what is in memory.
func (d *device) reload() {
	d.w.t.Helper()
	s, err := e2ee.Load(d.options(), d.stored())
	d.w.ok(err)
	d.s = s
}

func (d *device) create(instance uint64, others ...*device) []byte {
	d.w.t.Helper()
	s, welcome, err := e2ee.Create(d.w.src, now(), d.options(), instance, offers(others...))
	d.w.ok(err)
	d.become(s)
	return welcome
}

func (d *device) become(s *e2ee.Session) {
	d.s, d.records = s, map[string][]byte{}
	d.save()
}

func (d *device) enter(welcome []byte) {
	d.w.t.Helper()
	s, ref, err := e2ee.Enter(now(), d.options(), welcome, d.secret)
	d.w.ok(err)
	delete(d.secrets, string(ref))
	d.become(s)
}

func (d *device) event(text string) message.Event {
	d.w.t.Helper()
	d.seq++
	d.clock++
	e, err := message.New(conversation(d.parties), d.member.Author(), message.Place{Seq: d.seq, Prev: d.prev, Clock: d.clock}, now(), message.Text{Text: text})
	d.w.ok(err)
	d.prev = e.ID()
	return e
}

func conversation(parties []message.Party) message.ConversationID {
	return message.Direct(parties[0], parties[len(parties)-1])
}

func (d *device) say(text string) []byte {
	d.w.t.Helper()
	e := d.event(text)
	m, err := d.s.Seal(d.w.src, e2ee.Payload{Event: &e})
	d.w.ok(err)
	d.save()
	return m
}

// hears opens a message and expects these words.
func (d *device) hears(m []byte, from *device, text string) {
	d.w.t.Helper()
	o, err := d.s.Open(m)
	d.w.ok(err)
	d.save()
	if !o.From.Is(from.member) || o.Payload.Event == nil || message.Words(o.Payload.Event.Body) != text || o.Change != nil {
		d.w.t.Fatalf("%v heard %+v", d.member, o)
	}
}

func (d *device) commit(add ...*device) *e2ee.Change {
	d.w.t.Helper()
	c, err := d.s.Commit(d.w.src, now(), d.w.listed, offers(add...))
	d.w.ok(err)
	d.save()
	return c
}

func (d *device) merge(c *e2ee.Change) {
	d.w.t.Helper()
	d.w.ok(d.s.Merge(c))
	d.save()
}

// follow opens a commit and merges it.
func (d *device) follow(m []byte) {
	d.w.t.Helper()
	o, err := d.s.Open(m)
	d.w.ok(err)
	if o.Change == nil {
		d.w.t.Fatalf("no change")
	}
	d.merge(o.Change)
}

// pair makes a world with devices of two people; the first has made instance 1
// and let all others in.
func pair(t testing.TB, a, b int) (*world, []*device) {
	w := newWorld(t, uint64(a*100+b))
	var list []*device
	for i := range a + b {
		p := party(1)
		if i >= a {
			p = party(2)
		}
		list = append(list, w.device(p, party(1), party(2)))
	}
	welcome := list[0].create(1, list[1:]...)
	for _, d := range list[1:] {
		d.enter(welcome)
	}
	return w, list
}

func (d *device) String() string { return fmt.Sprint(d.member) }
