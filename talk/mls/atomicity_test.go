package mls

import (
	"bytes"
	"fmt"
	"testing"
)

// state is the serialised state of a group, as one string to compare.
func state(g *Group) string {
	var b bytes.Buffer
	for _, r := range g.Snapshot() {
		fmt.Fprintf(&b, "%s=%x\n", r.Key, r.Value)
	}
	return b.String()
}

// sample is a message of some type with what its receiver should think of it.
type sample struct {
	name  string
	bytes []byte
}

// samples makes one message of every type that a group can receive, from
// member 1, from outside, and from an external sender.
func samples(t testing.TB, groups []*Group) []sample {
	t.Helper()
	rand := testRand(20)
	from := groups[1]
	var out []sample
	add := func(name string, b []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, sample{name, b})
	}
	b, err := from.Encrypt(rand, []byte("hello"), Framing{AAD: []byte("aad"), Pad: func(n int) int { return n + 9 }})
	add("application", b, err)
	k, _, err := NewKeyPackage(rand, from.Suite(), testSigner(100), LeafTemplate{Credential: BasicCredential([]byte("new"))}, Lifetime{0, 9})
	noError(t, err)
	psk, err := ExternalPSKProposal(rand, []byte("psk"))
	noError(t, err)
	for _, public := range []bool{false, true} {
		f := Framing{Public: public, AAD: []byte("aad")}
		for _, p := range []Proposal{AddProposal(k), RemoveProposal(2), psk, ExtensionsProposal(from.Extensions())} {
			b, err := from.Propose(rand, p, f)
			add(fmt.Sprintf("proposal %d public=%v", p.Type, public), b, err)
		}
		b, err := from.ProposeUpdate(rand, nil, nil, f)
		add(fmt.Sprintf("update public=%v", public), b, err)
		c, err := from.Commit(rand, CommitOptions{IgnorePending: true, Path: true, Framing: f, Proposals: []Proposal{AddProposal(k), RemoveProposal(2)}})
		noError(t, err)
		add(fmt.Sprintf("commit public=%v", public), c.Message, nil)
		c, err = from.Commit(rand, CommitOptions{IgnorePending: true, Framing: f, Proposals: []Proposal{AddProposal(k)}})
		noError(t, err)
		add(fmt.Sprintf("commit without path public=%v", public), c.Message, nil)
	}
	gi, err := from.GroupInfo(GroupInfoOptions{External: true})
	noError(t, err)
	m, err := ParseMessage(gi)
	noError(t, err)
	_, b, err = JoinExternal(rand, m.GroupInfo, ExternalJoin{Signer: testSigner(101), Template: LeafTemplate{Credential: BasicCredential([]byte("outside"))}, Policy: anyPolicy()})
	add("external commit", b, err)
	b, err = ProposeExternally(testSigner(50), from.ID(), from.Epoch(), 0, RemoveProposal(2))
	add("external proposal", b, err)
	b, err = ProposeSelf(testSigner(100), from.ID(), from.Epoch(), k)
	add("new member proposal", b, err)
	return out
}

// listeners is a group of four with an external sender, all parents keyed.
func listeners(t testing.TB, id CipherSuite, policy Policy) []*Group {
	t.Helper()
	groups := testGroup(t, id, 4, policy)
	out, err := groups[0].Commit(testRand(30), CommitOptions{Proposals: []Proposal{ExtensionsProposal([]Extension{
		ExternalSendersExtension([]ExternalSender{{testSigner(50)[32:], BasicCredential([]byte("authority"))}})})}})
	noError(t, err)
	noError(t, groups[0].Merge(out.Staged))
	exchange(t, groups, 0, out.Message)
	rekey(t, groups, 2)
	return groups
}

// mutations calls f with every one-byte change of b (each step-th byte, three
// values), truncations and extensions.
func mutations(b []byte, step int, f func([]byte)) {
	for i := 0; i < len(b); i += step {
		for _, d := range []byte{0x01, 0x80, 0xff} {
			m := bytes.Clone(b)
			m[i] ^= d
			f(m)
		}
	}
	for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
		f(b[:n])
	}
	f(append(bytes.Clone(b), 0))
}

// TestAtomicity_RejectedInputLeavesTheStateAsItWas mutates messages of every
// type. None may be accepted, none may change a byte of the state, and none may
// bother the application's credential check before it has proved authentic.
func TestAtomicity_RejectedInputLeavesTheStateAsItWas(t *testing.T) {
	for _, id := range Suites() {
		t.Run(id.String(), func(t *testing.T) {
			judged := 0
			policy := anyPolicy()
			policy.Check = func(Candidate) error { judged++; return nil }
			groups := listeners(t, id, policy)
			list := samples(t, groups)
			receiver := groups[3]
			receiver.TakeDelta()
			before := state(receiver)
			tried := 0
			step := 1
			if id != X25519AES128 {
				step = 61
			}
			for _, s := range list {
				judged = 0
				mutations(s.bytes, step, func(b []byte) {
					tried++
					m, err := ParseMessage(b)
					if err == nil {
						_, err = receiver.Receive(m, nil)
					}
					if err == nil {
						t.Errorf("%s: a mutation was accepted", s.name)
					}
					if len(receiver.dirty) > 0 {
						t.Fatalf("%s: a rejected mutation left something to store: %v", s.name, err)
					}
				})
				if after := state(receiver); after != before {
					t.Fatalf("%s: rejected mutations changed the state", s.name)
				}
				if judged > 0 {
					t.Errorf("%s: credentials were judged %d times before authentication", s.name, judged)
				}
			}
			// And the untouched messages are all still welcome.
			for _, s := range list {
				m, err := ParseMessage(s.bytes)
				noError(t, err)
				if _, err := receiver.Receive(m, nil); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			}
			t.Logf("%d mutations of %d messages refused", tried, len(list))
		})
	}
}

func TestAtomicity_MutatedWelcomeAndGroupInfoLetNobodyIn(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	rand := testRand(21)
	k, secrets, err := NewKeyPackage(rand, X25519AES128, testSigner(100), LeafTemplate{Credential: BasicCredential([]byte("new"))}, Lifetime{0, 9})
	noError(t, err)
	out, err := groups[0].Commit(rand, CommitOptions{Path: true, Proposals: []Proposal{AddProposal(k)}})
	noError(t, err)
	join := func(b []byte) error {
		m, err := ParseMessage(b)
		if err != nil {
			return err
		}
		if m.Welcome == nil {
			return ErrMalformed
		}
		_, _, err = Join(m.Welcome, k, secrets, JoinOptions{Signer: testSigner(100), Policy: anyPolicy()})
		return err
	}
	mutations(out.Welcome, 3, func(b []byte) {
		if join(b) == nil {
			t.Error("joined by a mutated Welcome")
		}
	})
	noError(t, join(out.Welcome))

	gi, err := groups[0].GroupInfo(GroupInfoOptions{External: true})
	noError(t, err)
	enter := func(b []byte) error {
		m, err := ParseMessage(b)
		if err != nil {
			return err
		}
		if m.GroupInfo == nil {
			return ErrMalformed
		}
		_, _, err = JoinExternal(testRand(1), m.GroupInfo, ExternalJoin{Signer: testSigner(101), Template: LeafTemplate{Credential: BasicCredential([]byte("x"))}, Policy: anyPolicy()})
		return err
	}
	mutations(gi, 3, func(b []byte) {
		if enter(b) == nil {
			t.Error("joined by a mutated GroupInfo")
		}
	})
	noError(t, enter(gi))
}

// FuzzReceive feeds a group whatever comes: it may refuse or accept, but what
// it refuses leaves the state as it was.
func FuzzReceive(f *testing.F) {
	groups := listeners(f, X25519AES128, anyPolicy())
	for _, s := range samples(f, groups) {
		f.Add(s.bytes)
	}
	records := groups[3].Snapshot()
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		g, err := Load(records, anyPolicy(), testSigner(3))
		noError(t, err)
		before := state(g)
		if _, err := g.Receive(m, nil); err != nil && (state(g) != before || len(g.dirty) > 0) {
			t.Errorf("refused, and changed the state: %v", err)
		}
	})
}
