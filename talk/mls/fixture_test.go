package mls

import (
	"crypto/ed25519"
	"testing"
)

func anyPolicy() Policy {
	return Policy{Check: func(Candidate) error { return nil }, KeepEpochs: 3, KeepResumption: 3}
}

func testSigner(i byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append([]byte{i}, make([]byte, 31)...))
}

// testGroup makes a group of n members, in their leaf order.
func testGroup(t testing.TB, id CipherSuite, n int, policy Policy) []*Group {
	t.Helper()
	rand := testRand(9)
	g, err := Create(rand, id, []byte("group"), testSigner(0), LeafTemplate{Credential: BasicCredential([]byte{0})}, nil, policy)
	noError(t, err)
	groups := []*Group{g}
	if n == 1 {
		return groups
	}
	var o CommitOptions
	var offers []*KeyPackage
	var secrets []*KeyPackageSecrets
	for i := 1; i < n; i++ {
		k, s, err := NewKeyPackage(rand, id, testSigner(byte(i)), LeafTemplate{Credential: BasicCredential([]byte{byte(i)})}, Lifetime{0, 1 << 40})
		noError(t, err)
		offers, secrets = append(offers, k), append(secrets, s)
		o.Proposals = append(o.Proposals, AddProposal(k))
	}
	out, err := g.Commit(rand, o)
	noError(t, err)
	noError(t, g.Merge(out.Staged))
	m, err := ParseMessage(out.Welcome)
	noError(t, err)
	for i := 1; i < n; i++ {
		j, _, err := Join(m.Welcome, offers[i-1], secrets[i-1], JoinOptions{Signer: testSigner(byte(i)), Policy: policy})
		noError(t, err)
		groups = append(groups, j)
	}
	return groups
}

// exchange lets every member but from process a message.
func exchange(t testing.TB, groups []*Group, from int, b []byte) {
	t.Helper()
	for i, g := range groups {
		if i == from {
			continue
		}
		m, err := ParseMessage(b)
		noError(t, err)
		r, err := g.Receive(m, nil)
		noError(t, err)
		if r.Commit != nil {
			noError(t, g.Merge(r.Commit))
		}
	}
}

// rekey lets member i commit with a path.
func rekey(t testing.TB, groups []*Group, i int) {
	t.Helper()
	out, err := groups[i].Commit(testRand(byte(100+int(groups[i].Epoch()))), CommitOptions{Path: true})
	noError(t, err)
	noError(t, groups[i].Merge(out.Staged))
	exchange(t, groups, i, out.Message)
}

// storedGroup is the state of a member with some of everything in it.
func storedGroup(t testing.TB) []Record {
	groups := testGroup(t, X25519AES128, 5, anyPolicy())
	rekey(t, groups, 3)
	b, err := groups[2].Encrypt(testRand(1), []byte("skipped"), Framing{})
	noError(t, err)
	_ = b
	b, err = groups[2].Encrypt(testRand(1), []byte("read"), Framing{})
	noError(t, err)
	exchange(t, groups, 2, b)
	p, err := groups[1].ProposeUpdate(testRand(1), nil, nil, Framing{})
	noError(t, err)
	exchange(t, groups, 1, p)
	return groups[1].Snapshot()
}

// stagedGroup is a group with a commit of its own that is not yet merged.
func stagedGroup(t testing.TB) (*Group, *Staged) {
	groups := testGroup(t, X25519AES128, 5, anyPolicy())
	out, err := groups[2].Commit(testRand(2), CommitOptions{Proposals: []Proposal{RemoveProposal(1)}})
	noError(t, err)
	return groups[2], out.Staged
}
