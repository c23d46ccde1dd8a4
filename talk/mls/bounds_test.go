package mls

import (
	"bytes"
	"errors"
	"testing"
)

func TestBounds_ForwardJump(t *testing.T) {
	groups := testGroup(t, X25519AES128, 3, anyPolicy())
	sender, receiver := groups[0], groups[1]
	var last []byte
	send := func(n int) *Message {
		t.Helper()
		for range n {
			b, err := sender.Encrypt(testRand(1), []byte("x"), Framing{})
			noError(t, err)
			last = b
		}
		m, err := ParseMessage(last)
		noError(t, err)
		return m
	}
	receiver.TakeDelta()
	before := state(receiver)
	skipped := send(1)
	far := send(MaxForward + 1) // generation MaxForward+1: one too many from 0
	if _, err := receiver.Receive(far, nil); !errors.Is(err, ErrTooFarAhead) {
		t.Fatalf("jump of %d: %v", MaxForward+1, err)
	}
	if state(receiver) != before {
		t.Fatal("a refused jump changed the state")
	}
	_, err := receiver.Receive(skipped, nil)
	noError(t, err)
	if _, err := receiver.Receive(far, nil); err != nil {
		t.Fatalf("jump of %d: %v", MaxForward, err)
	}
	r := receiver.cur.tree.ratchets[ratchetID{0, false}]
	if len(r.skipped) != MaxForward {
		t.Errorf("%d keys of skipped messages kept, want %d", len(r.skipped), MaxForward)
	}
	// A further jump keeps no more than the bound.
	_, err = receiver.Receive(send(MaxForward), nil)
	noError(t, err)
	if r := receiver.cur.tree.ratchets[ratchetID{0, false}]; len(r.skipped) != MaxSkipped {
		t.Errorf("%d keys of skipped messages kept, want %d", len(r.skipped), MaxSkipped)
	}
}

func TestBounds_CheapChecksComeFirst(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	g := groups[3]
	// Without its secrets a group cannot decrypt, verify a tag or derive: what
	// is refused still, was refused before.
	g.cur.secrets, g.cur.tree = nil, nil
	for _, s := range samples(t, groups[:3]) {
		m, err := ParseMessage(s.bytes)
		noError(t, err)
		for name, want := range map[string]error{"group": ErrWrongGroup, "epoch": ErrWrongEpoch} {
			var c *[]byte
			var e *uint64
			if m.public != nil {
				c, e = &m.public.content.groupID, &m.public.content.epoch
			} else {
				c, e = &m.private.groupID, &m.private.epoch
			}
			group, epoch := *c, *e
			if name == "group" {
				*c = []byte("other")
			} else {
				*e += 1000
			}
			if _, err := g.Receive(m, nil); !errors.Is(err, want) {
				t.Errorf("%s of other %s: %v", s.name, name, err)
			}
			*c, *e = group, epoch
		}
	}
}

func TestBounds_LengthsAreCheckedBeforeMemoryIsTaken(t *testing.T) {
	huge := []byte{0xbf, 0xff, 0xff, 0xff} // a vector of 2^30-1 bytes
	for name, decode := range decoders() {
		for _, prefix := range seeds(t, name) {
			for _, cut := range []int{0, 2, 4, len(prefix) / 2, len(prefix)} {
				b := append(bytes.Clone(prefix[:min(cut, len(prefix))]), huge...)
				var err error
				n := testing.AllocsPerRun(1, func() { _, err = decode(b) })
				if err == nil && name != "parent" && name != "proposal" { // a Remove ends with any four bytes
					t.Errorf("%s: accepted with a vector longer than its input", name)
				}
				if n > float64(100+len(b)) {
					t.Errorf("%s: %v allocations for %d bytes", name, n, len(b))
				}
			}
		}
	}
	if _, err := ParseMessage(make([]byte, MaxMessage+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("oversized message: %v", err)
	}
	// A tree one leaf too large.
	var w writer
	w.nested(func() {
		for range 2 * MaxMembers {
			w.u8(0)
		}
	})
	if _, err := parseTree(w.b); !errors.Is(err, ErrMalformed) {
		t.Errorf("oversized tree: %v", err)
	}
	full := newTree(MaxMembers)
	leaf := testGroup(t, X25519AES128, 1, anyPolicy())[0].tree.leaf(0)
	for i := range full.leaves {
		full.leaves[i] = leaf
	}
	if _, err := full.add(leaf); !errors.Is(err, ErrInvalid) {
		t.Errorf("add to a full tree: %v", err)
	}
	g := testGroup(t, X25519AES128, 2, anyPolicy())[0]
	if _, err := g.Export("x", nil, maxExport+1); !errors.Is(err, ErrInvalid) {
		t.Errorf("export too much: %v", err)
	}
	if _, err := g.Encrypt(testRand(1), make([]byte, MaxMessage), Framing{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("encrypt too much: %v", err)
	}
}

func TestBounds_WhoAsksInCannotCrowdOutMembers(t *testing.T) {
	groups := testGroup(t, X25519AES128, 3, anyPolicy())
	g := groups[2]
	ask := func(i int) error {
		k, _, err := NewKeyPackage(testRand(1), X25519AES128, testSigner(byte(200+i/256)), LeafTemplate{Credential: BasicCredential([]byte{byte(i), byte(i >> 8)})}, Lifetime{0, 9})
		noError(t, err)
		b, err := ProposeSelf(testSigner(byte(200+i/256)), g.ID(), g.Epoch(), k)
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		_, err = g.Receive(m, nil)
		return err
	}
	for i := range MaxAsking {
		noError(t, ask(i))
	}
	if err := ask(MaxAsking); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more asks in: %v", err)
	}
	b, err := groups[1].Propose(testRand(1), RemoveProposal(0), Framing{})
	noError(t, err)
	m, err := ParseMessage(b)
	noError(t, err)
	_, err = g.Receive(m, nil)
	noError(t, err)
	out, err := g.Commit(testRand(1), CommitOptions{})
	noError(t, err)
	if len(out.Staged.Removed()) != 1 {
		t.Error("the member's proposal was crowded out of the commit")
	}
}

func TestBounds_PendingProposalsAreNoLargerThanAMessage(t *testing.T) {
	policy := anyPolicy()
	groups := testGroup(t, X25519AES128, 2, policy)
	g := groups[1]
	for i := 0; ; i++ {
		list := []Extension{ExternalSendersExtension([]ExternalSender{{bytes.Repeat([]byte{1}, 32), BasicCredential(bytes.Repeat([]byte{byte(i), byte(i >> 8)}, maxIdentity/2))}})}
		_, err := g.Propose(testRand(1), ExtensionsProposal(list), Framing{Public: true})
		if err == nil && i < 2*MaxMessage/maxIdentity {
			continue
		}
		if !errors.Is(err, ErrInvalid) || i < MaxMessage/maxIdentity/2 {
			t.Errorf("after %d large proposals: %v", i, err)
		}
		return
	}
}
