package namesvc_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// FuzzApply lets bytes choose what several actors do, in which blocks, with
// which bytes changed, and checks after each block what watched checks.
func FuzzApply(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomBytes(seed, 150))
	}
	f.Fuzz(func(t *testing.T, choices []byte) { play(t, choices, 30) })
}

// TestApply_RandomOpsKeepTheLaw is FuzzApply over seeded choices, and makes sure
// that they reach what they are meant to reach.
func TestApply_RandomOpsKeepTheLaw(t *testing.T) {
	runs := uint64(12)
	if os.Getenv("CONFAB_LONG") != "" {
		runs = 1000
	}
	kinds := map[namesvc.OpKind]int{}
	codes := map[namesvc.RejectCode]int{}
	for seed := range runs {
		w := play(t, randomBytes(seed, 1500), 200)
		for k, n := range w.accepted {
			kinds[k] += n
		}
		for c, n := range w.codes {
			codes[c] += n
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
	for k := namesvc.OpCommit; k <= namesvc.OpSponsor; k++ {
		if kinds[k] == 0 {
			t.Errorf("no random op of kind %v was ever accepted", k)
		}
	}
	if len(codes) < 30 {
		t.Errorf("random ops reached only %d codes: %v", len(codes), codes)
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// stage is where random stories happen: all durations are so short that a few
// blocks can exceed each.
const stage = `
params min_handle=5 min_sponsored=3 sponsor_daily=4
params reveal=6 checkpoint=3 work_bits=0 daily=6 quota_burst=8 quota_every=4
params probation=60 liveness=80 established=150 lease=300 dormant=20 quarantine=40 undo=60 max_device=100d
founders harbor=10 kappa=10 lars=10 mona=10 nora=10
actor harbor service
actor kappa service
actor lars service
actor mona service
actor otto service
actor alice person roots=r0,r1,r2
actor bob person
actor carol person next=none
register harbor @harbor device=d1 role=concierge url=https://a.example => ok
sponsor harbor s0 => ok
register lars device=d1 => ok
register mona device=d1 => ok
register otto device=d1 => ok
register alice @alice device=d1 device=d2/message/30s concierge=harbor => ok
register bob @modern device=d1 concierge=harbor => ok
`

// play makes up a story of at most so many lines from choices and runs it.
func play(t *testing.T, choices []byte, most int) *watched {
	t.Helper()
	s, err := namescript.Parse(stage)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{
		law: newLaw(t, s.Params, s.Founders...), t: t, params: s.Params,
		accepted: map[namesvc.OpKind]int{}, codes: map[namesvc.RejectCode]int{},
	}
	r := namescript.NewRunner(s.Params, w)
	for _, l := range s.Lines {
		if err := r.Do(l); err != nil {
			t.Fatal(err)
		}
	}
	w.watching = true
	c := chooser{left: choices}
	for n := 0; len(c.left) > 0 && n < most && !t.Failed() && !w.over; n++ {
		text := c.line()
		l, err := namescript.ParseLine(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		// A line that makes no sense yet, such as a reveal without a commit, is
		// passed over.
		_ = r.Do(l)
		if c.n(4) != 0 {
			_ = r.Do(namescript.Line{Verb: "block"})
		}
		if t.Failed() {
			t.Logf("at line %d: %s", n, text)
		}
	}
	return w
}

// chooser makes lines of bytes.
type chooser struct {
	left []byte
	next []string // lines that go with the last one
}

func (c *chooser) n(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

func (c *chooser) of(words ...string) string { return words[c.n(len(words))] }

func (c *chooser) who() string {
	return c.of("alice", "alice", "alice", "bob", "bob", "carol", "harbor", "kappa")
}

func (c *chooser) operator() string {
	return c.of("harbor", "harbor", "kappa", "lars", "mona", "otto", "alice")
}

func (c *chooser) handle() string {
	return c.of("@alice", "@a1ice", "@bobby", "@b0bby", "@modern", "@rnodern", "@harbor", "@x__y", "@zz", "@carol")
}

// line returns the next line. Most ops are right; some are wrong in one way.
func (c *chooser) line() string {
	if len(c.next) > 0 {
		s := c.next[0]
		c.next = c.next[1:]
		return s
	}
	var s string
	switch c.n(22) {
	case 16:
		s = fmt.Sprintf("operate %s %s", c.operator(), c.of("v0", "v0", "v1", "none", "none", "mona.v0"))
	case 17, 18, 19:
		// What one operator wants, others often do.
		what := c.of("otto power=10", "otto power=10", "otto power=5", "harbor power=0", "mona power=3", "lars power=15", "kappa power=10", "nora power=0", "rules=2", "rules=3",
			"harbor sponsor=6", "harbor sponsor=2")
		for _, who := range []string{"kappa", "lars", "mona"} {
			if c.n(2) == 0 {
				c.next = append(c.next, fmt.Sprintf("vote %s %s %s", who, what, c.of("", "", "until=20s", "until=never")))
			}
		}
		if c.n(3) == 0 {
			c.next = append(c.next, "fault "+c.of("kappa v0", "nora v0", "otto v1", "mona v0", "harbor v1"))
		}
		c.next = append(c.next, "block x3")
		s = fmt.Sprintf("vote %s %s", c.operator(), what)
	case 20:
		s = fmt.Sprintf("sponsor %s %s", c.of("harbor", "harbor", "lars", "alice"), c.of("harbor.s0", "harbor.s0", "harbor.s0", "none", "short", "even"))
	case 21:
		if c.n(3) == 0 {
			return fmt.Sprintf("replay %s.commit %s %s", c.of("x", "y", "z"), c.of("payment=work", "sponsor=harbor"), c.of("", "", "hash=sponsored", "hash=worked", "window=+5"))
		}
		s = fmt.Sprintf("commit %s %s salt=%d as=%s sponsor=harbor %s", c.who(), c.handle(), c.n(3), c.of("x", "y", "z"), c.of("", "", "", "ticket=flipped", "checkpoint=-1"))
	case 0, 1, 2, 3:
		return c.of("block", "block", "block", "block +5s", "block +30s", "time +13s", "time +70s", "block x3")
	case 4, 5:
		s = fmt.Sprintf("register %s %s", c.who(), c.handle())
		if c.n(2) == 0 {
			s = fmt.Sprintf("register %s %s %s %s", c.of("carol", "kappa"), c.of(c.handle(), ""), c.devices(), c.records())
		}
	case 6:
		s = fmt.Sprintf("commit %s %s salt=%d as=%s", c.who(), c.handle(), c.n(3), c.of("x", "y", "z"))
	case 7:
		return fmt.Sprintf("reveal %s %s", c.of("x", "y", "z", "alice", "bob"), c.flip())
	case 8, 9:
		s = fmt.Sprintf("records %s %s", c.who(), c.records())
	case 10:
		s = fmt.Sprintf("devices %s %s %s %s", c.who(), c.of("d1", "d1/200s", ""), c.of("d2", "d2/message/30s", "", ""), c.of("", "d3", "d3/consent=other", "n1"))
	case 11:
		s = fmt.Sprintf("roots %s %s %s %s", c.who(), c.of("r0", "r0", "r0", "r0", "n1"), c.of("r1", "r2 r1", "r1 r2", "r3", "d1"), c.of("", "next=n1", "next=n2", "next=n3"))
	case 12:
		s = "renew " + c.who()
	case 13:
		s = "release " + c.of("alice @alice", "alice @a1ice", "bob @modern", "bob @bobby", "carol @carol", c.who()+" "+c.handle())
	case 14:
		who := c.of("alice", "bob", "carol")
		s = "cancel " + who
		if c.n(2) == 0 {
			c.next = []string{"block", s + " by=" + c.of("r0", "r0", "n1", "r1")}
			return "release " + who + " " + map[string]string{"alice": "@alice", "bob": "@modern", "carol": "@carol"}[who] + " by=r1"
		}
	case 15:
		return fmt.Sprintf("replay %s %s", c.of("p", "q", "x.commit", "alice.commit", "alice.reveal"), c.flip())
	}
	s += " by=" + c.of("r0", "r0", "r0", "r0", "r1", "r1", "r1", "r2", "d1", "d1", "d2", "n1", "n2", c.who()+".r0")
	if c.n(8) == 0 {
		s += " " + c.of("seq=+2", "seq=+0", "prev=zero", "chain=elsewhere", "expires=+0", "expires=+999999", "as=p", "as=q")
	}
	return s + " " + c.flip()
}

func (c *chooser) flip() string {
	if c.n(12) != 0 {
		return ""
	}
	return fmt.Sprintf("flip=%d", c.n(250)-100)
}

func (c *chooser) devices() string {
	return c.of("", "device=d1", "device=d1 device=d2/message", "device=d1/consent=none")
}

func (c *chooser) records() string {
	return c.of("", "profile=a", "profile=b", "concierge=harbor", "concierge=kappa/accepted profile=c", "concierge=kappa",
		"role=concierge url=https://a.example", "role=concierge consent url=https://b.example", "profile=short", "concierge=harbor concierge=kappa/accepted")
}

// watched is the bare law with a witness: each block is applied in several ways
// that must agree, and each op alone, to see what it touches.
type watched struct {
	law      *namescript.Law
	t        *testing.T
	params   namesvc.Params
	accepted map[namesvc.OpKind]int
	codes    map[namesvc.RejectCode]int
	blocks   int
	watching bool
	over     bool // the next rule set has been voted in, and there is none yet
}

func (w *watched) Get(k namesvc.Key) ([]byte, error) { return w.law.Get(k) }
func (w *watched) Fault(f namesvc.Fault)             { w.law.Fault(f) }
func (w *watched) Head() (height, time uint64)       { return w.law.Head() }

// Block implements namescript.Machine.
func (w *watched) Block(ops [][]byte, after uint64) ([]namesvc.Receipt, error) {
	b := w.law.Next(after)
	if rules, err := namesvc.RulesAt(w.law, b.Height); err != nil || rules > namesvc.Rules {
		w.over = true
		return nil, fmt.Errorf("rule set %d begins (%v)", rules, err)
	}
	if !w.watching {
		return w.law.Apply(b, ops)
	}
	w.blocks++
	w.oneByOne(b, ops)
	again := w.law.Clone()
	receipts, err := w.law.Apply(b, ops)
	if err != nil {
		w.t.Errorf("block %d: %v", b.Height, err)
		return nil, err
	}
	for i, r := range receipts {
		w.codes[r.Code]++
		if tx, _ := namesvc.Parse(ops[i]); r.Code == namesvc.Accepted {
			w.accepted[tx.Kind()]++
		}
	}
	w.reordered(again, b, ops, receipts)
	if err := namescript.CheckState(w.law.All(), b.Time); err != nil {
		w.t.Errorf("block %d: %v", b.Height, err)
	}
	return receipts, nil
}

// reordered applies the block with its registrations in another order.
func (w *watched) reordered(from *namescript.Law, b namesvc.Block, ops [][]byte, want []namesvc.Receipt) {
	var place []int
	for i, op := range ops {
		if tx, fault := namesvc.Parse(op); fault == nil && tx.Kind() == namesvc.OpRegister {
			place = append(place, i)
		}
	}
	shuffled := slices.Clone(ops)
	r := rand.New(rand.NewPCG(uint64(w.blocks), 2))
	to := slices.Clone(place)
	r.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	for i, p := range place {
		shuffled[to[i]] = ops[p]
	}
	receipts, err := from.Apply(b, shuffled)
	if err != nil {
		w.t.Errorf("block %d, reordered: %v", b.Height, err)
		return
	}
	if from.Root() != w.law.Root() {
		w.t.Errorf("block %d: another order of registrations gives another root", b.Height)
	}
	for i, p := range place {
		// Copies of one op share their receipts in any order.
		if receipts[to[i]].Code != want[p].Code && count(ops, ops[p]) == 1 {
			w.t.Errorf("block %d: op %d is %v, and %v in another order", b.Height, p, want[p].Code, receipts[to[i]].Code)
		}
	}
}

func count(ops [][]byte, op []byte) (n int) {
	for _, o := range ops {
		if string(o) == string(op) {
			n++
		}
	}
	return n
}

// oneByOne applies each op alone, in the block's place, and checks what changes.
func (w *watched) oneByOne(b namesvc.Block, ops [][]byte) {
	law := w.law.Clone()
	if _, err := law.Apply(b, nil); err != nil {
		w.t.Errorf("empty block %d: %v", b.Height, err)
		return
	}
	b.Checkpoint, b.Faults = nil, nil
	for _, op := range ops {
		before := law.Clone()
		receipts, err := law.Apply(b, [][]byte{op})
		if err != nil {
			w.t.Errorf("block %d: %v", b.Height, err)
			return
		}
		if receipts[0].Code != namesvc.Accepted {
			if law.Root() != before.Root() {
				w.t.Errorf("block %d: an op refused as %v left a trace", b.Height, receipts[0].Code)
			}
			continue
		}
		w.touches(b, before, law, op)
	}
}

// touches checks that an accepted op changed only leaves of its own account.
func (w *watched) touches(b namesvc.Block, before, after *namescript.Law, op []byte) {
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		w.t.Errorf("an op that does not parse was accepted: %v", fault)
		return
	}
	allowed := allowedKeys(w.t, before, tx, op)
	old, fresh := maps.Collect(before.All()), maps.Collect(after.All())
	for k := range fresh {
		if string(old[k]) != string(fresh[k]) && allowed[k] == "" {
			w.t.Errorf("block %d: %v changed leaf %x, which is not its account's", b.Height, tx.Kind(), k[:8])
		}
		if allowed[k] == "handle" && string(old[k]) != string(fresh[k]) {
			w.handleOnly(b, before, tx, old[k], fresh[k])
		}
	}
	for k := range old {
		if _, ok := fresh[k]; !ok && allowed[k] != "swept" && allowed[k] != "operator" {
			w.t.Errorf("block %d: %v deleted leaf %x", b.Height, tx.Kind(), k[:8])
		}
	}
	if tx.Op != nil {
		e := mustEntry(w.t, after, tx.Op.Account)
		if e.Seq != tx.Op.Seq || e.LastOp != tx.ID || e.Generation != 1 {
			w.t.Errorf("block %d: after op %d the entry says sequence %d", b.Height, tx.Op.Seq, e.Seq)
		}
	}
}

// handleOnly checks the change of a handle's leaf: an account may give back its
// own, and take what nobody holds.
func (w *watched) handleOnly(b namesvc.Block, before *namescript.Law, tx *namesvc.Tx, old, fresh []byte) {
	now, err := namesvc.DecodeHandleLeaf(fresh)
	if err != nil || now.Account != tx.Op.Account {
		w.t.Errorf("block %d: %v wrote %v's leaf for another account (%v)", b.Height, tx.Kind(), now.Handle, err)
	}
	if old == nil {
		return
	}
	was, err := namesvc.DecodeHandleLeaf(old)
	if err != nil || was.Account == tx.Op.Account {
		return
	}
	owner := mustEntry(w.t, before, was.Account)
	if m, err := namesvc.Interpret(was.Handle, &was, &owner, b.Time); err == nil {
		w.t.Errorf("block %d: %v took %v, which was %v", b.Height, tx.Kind(), was.Handle, m.Status)
	}
	if now.Generation != was.Generation+1 {
		w.t.Errorf("block %d: %v went from generation %d to %d", b.Height, was.Handle, was.Generation, now.Generation)
	}
}

func mustEntry(t testing.TB, g namesvc.Getter, id namesvc.AccountID) namesvc.Entry {
	t.Helper()
	b, err := g.Get(namesvc.AccountKey(id))
	if err != nil {
		t.Fatal(err)
	}
	e, err := namesvc.DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// allowedKeys lists the leaves that an op may change, each with what it is. This
// is the promise of SPEC-names §6, spelt out a second time.
func allowedKeys(t *testing.T, before namesvc.Getter, tx *namesvc.Tx, op []byte) map[namesvc.Key]string {
	t.Helper()
	keys := map[namesvc.Key]string{}
	if tx.Commit != nil {
		var m namesvc.Meter
		decodeLeaf(t, before, namesvc.MeterKey(), &m)
		keys[namesvc.MeterKey()] = "meter"
		keys[namesvc.CommitKey(tx.Commit.ID())] = "commit"
		keys[queueKey(m.Next)] = "queue"
		if id, _, ok := ticket.SplitBlind(tx.Commit.Proof); ok {
			keys[namesvc.SponsorKey(id)] = "sponsor"
		}
		for n := m.Oldest; n < min(m.Oldest+2, m.Next); n++ {
			var hash [32]byte
			decodeLeaf(t, before, queueKey(n), &hash)
			keys[queueKey(n)], keys[namesvc.CommitKey(hash)] = "swept", "swept"
		}
		return keys
	}
	id := tx.Op.Account
	keys[namesvc.AccountKey(id)] = "entry"
	if b, _ := before.Get(namesvc.AccountKey(id)); b != nil {
		if p := mustEntry(t, before, id).Pending; p != nil {
			keys[namesvc.HandleKey(p.Handle.Skeleton())] = "handle"
		}
	}
	switch tx.Op.Kind {
	case namesvc.OpRegister:
		var body namesvc.Registration
		decode(t, tx.Op.Body, &body)
		for _, by := range []ticket.Payment{ticket.Work, ticket.Blind} {
			keys[namesvc.CommitKey(namesvc.Commit{Payment: by, Hash: namesvc.CommitHash(op)}.ID())] = "commit"
		}
		keys[namesvc.HandleKey(body.Handle.Skeleton())] = "handle"
		keys[namesvc.DevicesKey(id)] = "devices"
	case namesvc.OpDevices:
		keys[namesvc.DevicesKey(id)] = "devices"
	case namesvc.OpSponsor:
		keys[namesvc.SponsorKey(id)] = "sponsor"
	case namesvc.OpOperate, namesvc.OpVote:
		keys[namesvc.OperatorKey(id)] = "operator"
	case namesvc.OpRelease:
		var body namesvc.Release
		decode(t, tx.Op.Body, &body)
		keys[namesvc.HandleKey(body.Handle.Skeleton())] = "handle"
	}
	return keys
}

func queueKey(n uint64) namesvc.Key {
	return namesvc.LeafKey('q', binary.BigEndian.AppendUint64(nil, n))
}

func decodeLeaf(t *testing.T, g namesvc.Getter, k namesvc.Key, into any) {
	t.Helper()
	b, err := g.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, b, into)
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := wire.Decode(b, into, namesvc.MaxEntry); err != nil {
		t.Fatal(err)
	}
}
