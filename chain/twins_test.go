package chain_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

// A habit is how a validator comes to a block. Whatever it did before, the block
// must mean the same to it.
type habit struct {
	name  string
	ready func(t *testing.T, m *machine, ops [][]byte)
}

var habits = []habit{
	{"only ever sees decided blocks", func(*testing.T, *machine, [][]byte) {}},
	{"proposed the block itself", func(t *testing.T, m *machine, ops [][]byte) {
		for _, op := range ops {
			m.check(t, op)
		}
		m.propose(t, ops, 1<<30)
		m.accepts(t, ops)
	}},
	{"has just been started", func(t *testing.T, m *machine, _ [][]byte) {
		if m.height > 0 {
			m.restart(t)
		}
	}},
	{"was given other blocks of the same height before", func(t *testing.T, m *machine, ops [][]byte) {
		m.propose(t, ops, 1<<30)
		other := slices.Clone(ops)
		slices.Reverse(other)
		m.try(t, other, 5)
		m.try(t, nil, 1)
		m.propose(t, other, 1<<30)
	}},
}

// try finalizes a block and commits nothing.
func (m *machine) try(t testing.TB, ops [][]byte, after uint64) *abci.ResponseFinalizeBlock {
	t.Helper()
	hash := sha256.Sum256(fmt.Appendf(nil, "other block %d", m.height+1))
	r, err := m.app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{
		Txs: ops, Hash: hash[:], Height: int64(m.height + 1), Time: time.Unix(int64(m.time+after), 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (m *machine) restart(t testing.TB) {
	t.Helper()
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

// TestTwins_AgreeWhateverTheyDidBefore gives one chain of random blocks, good
// and hostile, to validators of different habits. After each block machine
// compares the app with the bare law, and this test the validators with one
// another, receipts and vote extensions included.
func TestTwins_AgreeWhateverTheyDidBefore(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			p := testParams()
			p.Checkpoint, p.Reveal, p.QuotaBurst, p.QuotaEvery = 4, 6, 8, 3
			p.Lanes = namesvc.Lanes{Renewals: 4, Updates: 20, Commits: 20, Registrations: 20}
			var twins []*machine
			for range habits {
				twins = append(twins, newMachine(t, p))
			}
			crowd := newCrowd(t, twins[0], seed)
			codes := map[namesvc.RejectCode]int{}
			for range 40 {
				ops := crowd.block()
				after := uint64(crowd.rng.IntN(4))
				var first []namesvc.Receipt
				for i, m := range twins {
					habits[i].ready(t, m, ops)
					receipts, err := m.Block(ops, after)
					if err != nil {
						t.Fatalf("a validator that %s: %v", habits[i].name, err)
					}
					if i == 0 {
						first = receipts
					} else if !slices.Equal(first, receipts) {
						t.Fatalf("height %d: one that %s has other receipts", m.height, habits[i].name)
					}
				}
				agreeOnExtensions(t, twins)
				crowd.saw(first)
				for _, r := range first {
					codes[r.Code]++
				}
			}
			if codes[namesvc.Accepted] < 100 || len(codes) < 8 {
				t.Errorf("the blocks were too dull to show anything: %v", codes)
			}
		})
	}
}

// agreeOnExtensions checks that all vote with one extension, and take each
// other's.
func agreeOnExtensions(t *testing.T, twins []*machine) {
	t.Helper()
	var first []byte
	for i, m := range twins {
		e, err := m.app.ExtendVote(ctx, &abci.RequestExtendVote{Height: int64(m.height + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = e.VoteExtension
		}
		v, err := m.app.VerifyVoteExtension(ctx, &abci.RequestVerifyVoteExtension{Height: int64(m.height + 1), VoteExtension: first})
		if err != nil || v.Status != abci.ResponseVerifyVoteExtension_ACCEPT {
			t.Fatalf("height %d: an extension was refused: %v %v", m.height, v, err)
		}
		if !bytes.Equal(e.VoteExtension, first) {
			t.Fatalf("height %d: extensions %x and %x", m.height, first, e.VoteExtension)
		}
	}
	if m := twins[0]; m.height >= m.params.Checkpoint && len(first) == 0 {
		t.Fatalf("height %d: nobody seals", m.height)
	}
}

// crowd makes blocks of ops by a few people, most of them sensible.
type crowd struct {
	t      testing.TB
	m      *machine // whose state they see
	rng    *rand.Rand
	source *rand.ChaCha8
	people []*person         // on the chain, as far as they know
	coming map[string][]byte // registrations by the commit that announced them
	who    map[string]*person
	old    [][]byte // everything that was ever sent
	sent   [][]byte // in the last block
}

func newCrowd(t testing.TB, m *machine, seed uint64) *crowd {
	source := rand.NewChaCha8([32]byte{byte(seed)})
	return &crowd{t: t, m: m, rng: rand.New(source), source: source, coming: map[string][]byte{}, who: map[string]*person{}}
}

func (c *crowd) block() [][]byte {
	c.sent = nil
	// Those that were announced before come now, most of them.
	announced := make([]string, 0, len(c.coming))
	for k := range c.coming {
		announced = append(announced, k)
	}
	slices.Sort(announced)
	for _, k := range announced {
		if c.rng.IntN(5) > 0 {
			c.send(c.coming[k])
		}
	}
	for range c.rng.IntN(12) {
		c.one()
	}
	c.rng.Shuffle(len(c.sent), func(i, j int) { c.sent[i], c.sent[j] = c.sent[j], c.sent[i] })
	c.old = append(c.old, c.sent...)
	return c.sent
}

func (c *crowd) send(op []byte) { c.sent = append(c.sent, op) }

func (c *crowd) one() {
	height := c.m.height
	switch kind := c.rng.IntN(10); {
	case kind < 3 || len(c.people) == 0:
		who := newPersonFrom(c.t, c.source, c.m.params.Chain)
		commit, register := who.registration(namesvc.Handle(fmt.Sprintf("name%d", c.rng.IntN(30))), c.m)
		tx, _ := namesvc.Parse(register)
		c.coming[string(tx.ID[:])], c.who[string(tx.ID[:])] = register, who
		c.send(commit)
	case kind == 3 && len(c.old) > 0:
		c.send(c.old[c.rng.IntN(len(c.old))]) // a replay
	case kind == 4 && len(c.old) > 0:
		b := bytes.Clone(c.old[c.rng.IntN(len(c.old))])
		b[c.rng.IntN(len(b))] ^= byte(1 << c.rng.IntN(8))
		c.send(b)
	case kind == 5:
		b := make([]byte, c.rng.IntN(200))
		c.source.Read(b)
		c.send(b)
	default:
		who := c.people[c.rng.IntN(len(c.people))]
		var profile [32]byte
		c.source.Read(profile[:])
		c.send(who.op(namesvc.OpRecords, namesvc.Records{Profile: profile[:]}, []namesvc.Signer{who.device, who.root, key.DeviceFromSeed(profile)}[c.rng.IntN(3)], height+uint64(c.rng.IntN(20))))
	}
}

// saw tells people what became of their ops.
func (c *crowd) saw(receipts []namesvc.Receipt) {
	for i, r := range receipts {
		tx, _ := namesvc.Parse(c.sent[i])
		if k := string(r.ID[:]); c.coming[k] != nil {
			if r.Code == namesvc.Accepted {
				c.people = append(c.people, c.who[k])
			}
			delete(c.coming, k)
		} else if tx.Op != nil && tx.Op.Kind == namesvc.OpRecords {
			c.resync(tx.Op.Account)
		}
	}
}

// resync reads an account's position from the state, as a client would.
func (c *crowd) resync(id namesvc.AccountID) {
	b, err := c.m.Get(namesvc.AccountKey(id))
	if err != nil || b == nil {
		return
	}
	e, err := namesvc.DecodeEntry(b)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, who := range c.people {
		if who.id == id {
			who.seq, who.last = e.Seq, e.LastOp
		}
	}
}
