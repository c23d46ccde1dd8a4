package mls

import (
	"bytes"
	"errors"
	"testing"
)

// TestDeletion_WhatWasReadCannotBeReadAgain reads messages, restores the state
// from what was stored, and tries again; and it searches the stored state for
// every secret from which an old message key could be derived.
func TestDeletion_WhatWasReadCannotBeReadAgain(t *testing.T) {
	groups := testGroup(t, X25519AES128, 6, anyPolicy())
	sender, receiver := groups[2], groups[4]
	var messages []*Message
	for i := range 5 {
		b, err := sender.Encrypt(testRand(byte(i)), []byte{byte(i)}, Framing{})
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		messages = append(messages, m)
	}
	dead := [][]byte{}
	doomed := func(g *Group, leaf LeafIndex) {
		// Whatever is on the way to the sender's ratchet, and the ratchet itself.
		for x, s := range g.cur.tree.nodes {
			if x.covers(leaf) {
				dead = append(dead, bytes.Clone(s))
			}
		}
		if r := g.cur.tree.ratchets[ratchetID{leaf, false}]; r != nil {
			dead = append(dead, bytes.Clone(r.secret))
		}
	}
	for _, i := range []int{0, 3, 1, 4, 2} { // out of order, too
		if i != 1 && i != 2 { // those were skipped: they leave the ratchet where it is
			doomed(receiver, sender.self)
		}
		st, err := receiver.cur.tree.open(ratchetID{sender.self, false}, uint32(i))
		noError(t, err)
		if i > 2 || i == 0 {
			dead = append(dead, bytes.Clone(st.key))
		}
		_, err = receiver.Receive(messages[i], nil)
		noError(t, err)
		again, err := Load(receiver.Snapshot(), anyPolicy(), testSigner(4))
		noError(t, err)
		for _, g := range []*Group{receiver, again} {
			if _, err := g.Receive(messages[i], nil); !errors.Is(err, ErrConsumed) {
				t.Errorf("message %d read again: %v", i, err)
			}
		}
		*receiver = *again
	}
	// A skipped key leaves the state only when it is used: now all are.
	for i := range 5 {
		fresh := testGroup(t, X25519AES128, 6, anyPolicy())[4]
		st, err := fresh.cur.tree.open(ratchetID{sender.self, false}, uint32(i))
		noError(t, err)
		dead = append(dead, st.key, st.nonce)
	}
	absent(t, receiver, dead)
	for i, m := range messages {
		if _, err := sender.Receive(m, nil); !errors.Is(err, ErrConsumed) {
			t.Errorf("the sender reads its own message %d: %v", i, err)
		}
	}
}

// absent requires that no secret is found in a stored state.
func absent(t *testing.T, g *Group, dead [][]byte) {
	t.Helper()
	for _, r := range g.Snapshot() {
		for i, d := range dead {
			if len(d) >= 12 && bytes.Contains(r.Value, d) {
				t.Errorf("record %s holds dead secret %d of %d", r.Key, i, len(dead))
			}
		}
	}
}

func TestDeletion_AnEpochThatEndsTakesItsSecrets(t *testing.T) {
	groups := testGroup(t, X25519AES128, 4, anyPolicy())
	rekey(t, groups, 1)
	g := groups[1]
	old := Secrets(g)
	for i := range old {
		old[i] = bytes.Clone(old[i])
	}
	oldPriv := bytes.Clone(g.priv[g.self.node()])
	init := bytes.Clone(g.cur.secrets.init)
	exporter := bytes.Clone(g.cur.secrets.exporter)
	rekey(t, groups, 1) // its own commit: leaf and path are new
	absent(t, g, [][]byte{oldPriv, init, exporter})
	for range g.policy.KeepEpochs {
		rekey(t, groups, 2)
		rekey(t, groups, 1)
	}
	absent(t, g, old)
}

func TestDeletion_StagedCommitThatIsDroppedLeavesNothing(t *testing.T) {
	groups := testGroup(t, X25519AES128, 3, anyPolicy())
	out, err := groups[0].Commit(testRand(1), CommitOptions{Path: true, Framing: Framing{Public: true}})
	noError(t, err)
	m, err := ParseMessage(out.Message)
	noError(t, err)
	g := groups[1]
	g.TakeDelta()
	before := state(g)
	r, err := g.Receive(m, nil)
	noError(t, err)
	if state(g) != before || !g.TakeDelta().Empty() {
		t.Error("staging a public commit changed the state")
	}
	if _, err := g.Receive(m, nil); err != nil {
		t.Errorf("staging twice: %v", err)
	}
	noError(t, g.Merge(r.Commit))
	if err := g.Merge(r.Commit); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("merging twice: %v", err)
	}
}
