package mls

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestAtomicity_InsiderCannotBreakTheGroup sends commits that are properly
// signed by a member and wrong in one thing. The honest commit of the same
// epoch must still be accepted afterwards.
func TestAtomicity_InsiderCannotBreakTheGroup(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	insider, receiver := groups[1], groups[3]
	honest, err := groups[0].Commit(testRand(1), CommitOptions{Path: true})
	noError(t, err)
	// craft commits with a path, lets spoil change the content, signs again
	// and fixes the membership tag.
	craft := func(spoil func(*publicMessage), resign bool) *Message {
		t.Helper()
		out, err := insider.Commit(testRand(2), CommitOptions{Path: true, Framing: Framing{Public: true}, Proposals: []Proposal{RemoveProposal(2)}})
		noError(t, err)
		m, err := ParseMessage(out.Message)
		noError(t, err)
		spoil(m.public)
		var w writer
		m.public.content.commit.encode(&w)
		m.public.content.body = w.b
		if resign {
			noError(t, m.public.sign(testSigner(1), insider.cur.contextRaw))
		}
		m.public.membershipTag = m.public.membership(insider.cur.secrets.membership, insider.cur.contextRaw)
		return m
	}
	// again signs the leaf after f changed the commit, with a fitting parent hash.
	again := func(f func(*updatePath)) func(*publicMessage) {
		return func(p *publicMessage) {
			path := p.content.commit.path
			f(path)
			v := insider.view()
			ch, err := v.apply(p.content.sender, []queued{{Proposal: p.content.commit.proposals[0].proposal, sender: p.content.sender}})
			noError(t, err)
			if _, _, ph, err := ch.tree.setPath(1, path.keys()); err == nil && path.leaf.ParentHash != nil {
				path.leaf.ParentHash = ph
			}
			noError(t, path.leaf.sign(testSigner(1), insider.ID(), 1))
		}
	}
	leaf := func(f func(*LeafNode)) func(*publicMessage) {
		return again(func(u *updatePath) { f(u.leaf) })
	}
	nodeKey := func(key []byte) func(*publicMessage) {
		return again(func(u *updatePath) { u.nodes[0].encryptionKey = key })
	}
	with := func(p proposalOrRef) func(*publicMessage) {
		return func(m *publicMessage) {
			c := m.content.commit
			c.proposals = append(slices.Clone(c.proposals), p)
		}
	}
	instead := func(p Proposal) func(*publicMessage) {
		return func(m *publicMessage) { m.content.commit.proposals = []proposalOrRef{{proposal: &p}} }
	}
	spoils := []struct {
		name, want string
		spoil      func(*publicMessage)
	}{
		{"confirmation tag", "confirmation tag", func(p *publicMessage) { p.confirmationTag = make([]byte, hashSize) }},
		{"no confirmation tag", "confirmation tag", func(p *publicMessage) { p.confirmationTag = nil }},
		{"path secrets", "decrypt UpdatePathNode", func(p *publicMessage) {
			for _, n := range p.content.commit.path.nodes {
				for j := range n.secrets {
					n.secrets[j].ciphertext[0] ^= 1
				}
			}
		}},
		{"KEM output", "decrypt UpdatePathNode", func(p *publicMessage) {
			for _, n := range p.content.commit.path.nodes {
				for j := range n.secrets {
					n.secrets[j].kemOutput = make([]byte, 32)
				}
			}
		}},
		{"path key of small order", "small order", nodeKey(make([]byte, 32))},
		{"path key of wrong size", "HPKE public key", nodeKey(make([]byte, 31))},
		{"path key of another", "a key is used twice", nodeKey(bytes.Clone(receiver.tree.leaf(3).EncryptionKey))},
		{"path key that its secret does not give", "not what its secret gives", func(p *publicMessage) {
			// A whole new path, whose top key is replaced before it is encrypted.
			v := insider.view()
			ch, err := v.apply(p.content.sender, []queued{{Proposal: p.content.commit.proposals[0].proposal, sender: p.content.sender}})
			noError(t, err)
			o, err := ch.tree.newPath(testRand(3), v.s, 1)
			noError(t, err)
			path := p.content.commit.path
			keys := path.keys()
			for i, x := range o.path {
				keys[i] = ch.tree.key(x)
			}
			keys[len(keys)-1] = append([]byte{9}, make([]byte, 31)...)
			o.path, o.copath, path.leaf.ParentHash, err = ch.tree.setPath(1, keys)
			noError(t, err)
			noError(t, path.leaf.sign(testSigner(1), insider.ID(), 1))
			ch.tree.setLeaf(1, path.leaf)
			context := v.provisional(ch)
			path.nodes, err = o.encrypt(testRand(4), v.s, ch.tree, context.bytes(), nil)
			noError(t, err)
		}},
		{"too few path nodes", "apply path: 1 nodes", func(p *publicMessage) { c := p.content.commit.path; c.nodes = c.nodes[1:] }},
		{"too few secrets", "has 0 secrets", func(p *publicMessage) {
			c := p.content.commit.path
			c.nodes[len(c.nodes)-1].secrets = c.nodes[len(c.nodes)-1].secrets[1:]
		}},
		{"no path", "demand a path", func(p *publicMessage) { p.content.commit.path = nil }},
		{"removes its committer", "its own committer", instead(RemoveProposal(1))},
		{"updates its committer", "its own committer", instead(Proposal{Type: ProposalUpdate, Update: insider.tree.leaf(2)})},
		{"removes nobody", "is nobody's", instead(RemoveProposal(9))},
		{"removes twice", "touches leaf 2 twice", with(proposalOrRef{proposal: &Proposal{Type: ProposalRemove, Remove: 2}})},
		{"external init", "external init by a member", with(proposalOrRef{proposal: &Proposal{Type: ProposalExternalInit, KEMOutput: make([]byte, 32)}})},
		{"unknown reference", "unknown proposal", with(proposalOrRef{ref: make([]byte, hashSize)})},
		{"unknown proposal type", "0xfabc", with(proposalOrRef{proposal: &Proposal{Type: 0xFABC}})},
		{"reinit among others", "reinit beside", with(proposalOrRef{proposal: &Proposal{Type: ProposalReInit, ReInit: &ReInit{Version: 1}}})},
		{"one key twice", "one pre-shared key twice", func(m *publicMessage) {
			for range 2 {
				with(proposalOrRef{proposal: &Proposal{Type: ProposalPSK, PSK: PSKID{Type: PSKExternal, Nonce: make([]byte, 32)}}})(m)
			}
		}},
		{"too many secrets", "has 2 secrets", func(p *publicMessage) {
			c := p.content.commit.path
			n := &c.nodes[len(c.nodes)-1]
			n.secrets = append(n.secrets, n.secrets[0])
		}},
		{"short nonce", "nonce of 0 bytes", with(proposalOrRef{proposal: &Proposal{Type: ProposalPSK, PSK: PSKID{Type: PSKExternal}}})},
		{"key of a branch", "usage 3", with(proposalOrRef{proposal: &Proposal{Type: ProposalPSK, PSK: PSKID{Type: PSKResumption, Usage: UsageBranch, Nonce: make([]byte, 32)}}})},
		{"unknown key", "unknown pre-shared key", with(proposalOrRef{proposal: &Proposal{Type: ProposalPSK, PSK: PSKID{Type: PSKExternal, Nonce: make([]byte, 32)}}})},
		{"extension nobody supports", "is not supported", instead(ExtensionsProposal([]Extension{{Type: 0xF00F}}))},
		{"leaf with the old key", "the old one", leaf(func(l *LeafNode) { l.EncryptionKey = receiver.tree.leaf(1).EncryptionKey })},
		{"leaf with another's key", "used twice", leaf(func(l *LeafNode) { l.EncryptionKey = receiver.tree.leaf(0).EncryptionKey })},
		{"leaf with another's identity", "used twice", leaf(func(l *LeafNode) { l.SignatureKey = receiver.tree.leaf(0).SignatureKey })},
		{"leaf with a small order key", "small order", leaf(func(l *LeafNode) { l.EncryptionKey = append([]byte{1}, make([]byte, 31)...) })},
		{"leaf with wrong parent hash", "parent hash", func(p *publicMessage) {
			l := p.content.commit.path.leaf
			l.ParentHash = make([]byte, hashSize)
			noError(t, l.sign(testSigner(1), insider.ID(), 1))
		}},
		{"leaf for an update", "parent hash", leaf(func(l *LeafNode) { l.Source, l.ParentHash = SourceUpdate, nil })},
		{"leaf without the suite", "version and suite", leaf(func(l *LeafNode) { l.Capabilities.Suites = nil })},
		{"leaf with unlisted extension", "its own extension", leaf(func(l *LeafNode) { l.Extensions = []Extension{{Type: 0xF00F}} })},
		{"leaf with unlisted credential", "its own credential", leaf(func(l *LeafNode) { l.Capabilities.Credentials = nil })},
		{"leaf with bad signature", "signature of LeafNodeTBS", func(p *publicMessage) {
			noError(t, p.content.commit.path.leaf.sign(testSigner(2), insider.ID(), 1))
		}},
		{"epoch to come", "wrong epoch", func(p *publicMessage) { p.content.epoch++ }},
		{"other group", "wrong group", func(p *publicMessage) { p.content.groupID = []byte("other") }},
		{"other sender", "FramedContentTBS", func(p *publicMessage) { p.content.sender.Leaf = 0 }},
		{"no sender", "is nobody's", func(p *publicMessage) { p.content.sender.Leaf = 77 }},
	}
	receiver.TakeDelta()
	before := state(receiver)
	for _, s := range spoils {
		_, err := receiver.Receive(craft(s.spoil, true), nil)
		if err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%s: got %v, want %q", s.name, err, s.want)
		}
		// The same inside a PrivateMessage: its key may not be used up either.
		m := craft(s.spoil, true)
		a := m.public.authContent
		a.wire = WirePrivate
		noError(t, a.sign(testSigner(1), insider.cur.contextRaw))
		b, _, err := insider.cur.protectPrivate(testRand(5), &a, nil)
		if a.content.sender.Leaf == 77 {
			continue // nobody has no ratchet to send with
		}
		noError(t, err)
		m, err = ParseMessage(b)
		noError(t, err)
		if _, err := receiver.Receive(m, nil); err == nil {
			t.Errorf("%s: accepted in private", s.name)
		}
		if len(receiver.dirty) > 0 || state(receiver) != before {
			t.Fatalf("%s: changed the state", s.name)
		}
	}
	if _, err := receiver.Receive(craft(func(*publicMessage) {}, true), nil); err != nil {
		t.Errorf("the unspoilt commit was refused, so the others proved nothing: %v", err)
	}
	m, err := ParseMessage(honest.Message)
	noError(t, err)
	r, err := receiver.Receive(m, nil)
	noError(t, err)
	noError(t, receiver.Merge(r.Commit))
	noError(t, groups[0].Merge(honest.Staged))
	if !bytes.Equal(receiver.EpochAuthenticator(), groups[0].EpochAuthenticator()) {
		t.Error("the honest commit leads elsewhere")
	}
}
