package mls

import "testing"

// TestCost_WhatIsStoredForEachStep holds the sizes that SPEC-e2ee §5 and §9
// promise.
func TestCost_WhatIsStoredForEachStep(t *testing.T) {
	const n, levels = 16, 4
	groups := testGroup(t, X25519AES128, n, anyPolicy())
	sender, reader := groups[0], groups[n-1]
	size := func(d Delta) (records, bytes int) {
		for _, r := range d.Put {
			bytes += len(r.Value)
		}
		return len(d.Put) + len(d.Delete), bytes
	}
	send := func() {
		b, err := sender.Encrypt(testRand(1), make([]byte, 200), Framing{})
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		_, err = reader.Receive(m, nil)
		noError(t, err)
	}
	send() // the first one derives the ratchets
	sender.TakeDelta()
	reader.TakeDelta()
	send()
	for name, g := range map[string]*Group{"sender": sender, "reader": reader} {
		if records, bytes := size(g.TakeDelta()); records != 1 || bytes > 48 {
			t.Errorf("%s: a message changed %d records of %d bytes, want 1 of at most 48", name, records, bytes)
		}
	}
	for i := range n { // every parent gets a key
		rekey(t, groups, i)
		if i > n-4 {
			records, bytes := size(groups[0].TakeDelta())
			// For each level a parent, a private key, and the secret tree nodes
			// and ratchets of the epoch that expired; head, leaf, past epoch,
			// resumption key, the root of the next secret tree.
			if records > 6*levels+8 || bytes > 2048 {
				t.Errorf("a commit among %d changed %d records of %d bytes", n, records, bytes)
			}
		} else {
			groups[0].TakeDelta()
		}
	}
}

func TestCost_AllocationsPerMessage(t *testing.T) {
	groups := testGroup(t, X25519AES128, 8, anyPolicy())
	rand := testRand(1)
	data := make([]byte, 200)
	var messages []*Message
	encrypt := testing.AllocsPerRun(20, func() {
		b, err := groups[0].Encrypt(rand, data, Framing{})
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		messages = append(messages, m)
	})
	i := 0
	decrypt := testing.AllocsPerRun(20, func() {
		_, err := groups[1].Receive(messages[i], nil)
		noError(t, err)
		i++
	})
	t.Logf("encrypt and parse: %v, read: %v allocations", encrypt, decrypt)
	if encrypt > 110 || decrypt > 100 {
		t.Errorf("encrypt and parse: %v, read: %v allocations, want at most 110 and 100", encrypt, decrypt)
	}
}

func TestCost_SizesOnTheWire(t *testing.T) {
	for id, want := range map[CipherSuite][2]int{X25519AES128: {292, 336}, XWingAES128: {2660, 1456}} {
		groups := testGroup(t, id, 4, anyPolicy())
		k, _, err := NewKeyPackage(testRand(1), id, testSigner(60), LeafTemplate{Credential: BasicCredential(make([]byte, 13))}, Lifetime{0, 9})
		noError(t, err)
		out, err := groups[0].Commit(testRand(1), CommitOptions{TreeOutside: true, Proposals: []Proposal{AddProposal(k)}})
		noError(t, err)
		t.Logf("%v: key package %d, Welcome for one %d, commit that adds one %d bytes", id, len(k.Message()), len(out.Welcome), len(out.Message))
		if len(k.Message()) > want[0] || len(out.Welcome) > want[1] {
			t.Errorf("%v: key package of %d, Welcome of %d bytes, want at most %v", id, len(k.Message()), len(out.Welcome), want)
		}
	}
}
