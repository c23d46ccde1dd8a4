package mls_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// TestExternalSender_AgreesWithMLSGo: somebody outside, whom the group context
// lists, proposes to remove a member and to add another; talk/mls and mls-go
// commit that in turn. (ts-mls takes the list for a single sender.)
func TestExternalSender_AgreesWithMLSGo(t *testing.T) {
	outsider := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	senders := mls.ExternalSendersExtension([]mls.ExternalSender{
		{SignatureKey: phantomKey(1).Public().(ed25519.PublicKey), Credential: mls.BasicCredential([]byte("nobody"))},
		{SignatureKey: outsider.Public().(ed25519.PublicKey), Credential: mls.BasicCredential([]byte("outsider"))},
	})
	for committer := range 2 {
		x := newTable(t, "ours", "mls-go", "ours", "ours")
		x.commit(0, nil, proposal{kind: proposeExtensions, extensions: []mls.Extension{senders}})
		c := x.newClient("ours", "newcomer").(*ourClient)
		_, err := c.offer()
		noError(t, err)
		for i, p := range []mls.Proposal{mls.RemoveProposal(3), mls.AddProposal(c.offers[0].pack)} {
			g := x.ours(0).g
			message, err := mls.ProposeExternally(outsider, g.ID(), g.Epoch(), 1, p)
			noError(t, err)
			for _, m := range x.seats {
				_, err := m.receive(message)
				noError(t, err)
			}
			// Signed by the wrong one of the two.
			message, err = mls.ProposeExternally(outsider, g.ID(), g.Epoch(), 0, p)
			noError(t, err)
			noError(t, x.ours(2).mustRefuse(message))
			if _, err := x.seats[1].receive(message); err == nil {
				t.Errorf("mls-go accepts proposal %d of the wrong sender", i)
			}
		}
		x.seats[3] = nil
		x.commit(committer, c)
		want, err := x.seats[0].state()
		noError(t, err)
		for _, i := range []int{1, 2, 4} {
			got, err := x.seats[i].state()
			noError(t, err)
			noError(t, want.same(got))
		}
	}
}

// TestOwnTypes_AgreeWithTSMLS: proposals and group context extensions of a type
// that only the application knows.
func TestOwnTypes_AgreeWithTSMLS(t *testing.T) {
	needNode(t)
	const own = 0xF0A5
	x := newTable(t)
	x.client = []client{x.newClient("ours", "client-a"), &tsClient{startChild(t, "driver.mjs", corrections()...), hex.EncodeToString([]byte("client-b"))}}
	ts := x.client[1].(*tsClient)
	noError(t, ts.call("client", map[string]any{"identity": ts.identity, "suite": uint16(x.suite), "own": []int{own}}, nil))
	a := x.client[0].(*ourClient)
	a.capabilities.Extensions, a.capabilities.Proposals = []mls.ExtensionType{own}, []mls.ProposalType{own}
	a.policy.Proposals = []mls.ProposalType{own}
	m, err := a.create([]byte("own types"))
	noError(t, err)
	x.seats = []member{m}
	k, err := ts.offer()
	noError(t, err)
	x.commit(0, ts, proposal{kind: proposeAdd, keyPackage: k})
	agree := func() {
		t.Helper()
		want, err := x.seats[0].state()
		noError(t, err)
		got, err := x.seats[1].state()
		noError(t, err)
		noError(t, want.same(got))
	}
	agree()

	for _, o := range []mls.CommitOptions{
		{Proposals: []mls.Proposal{{Type: own, Data: []byte("ours")}}},
		{Proposals: []mls.Proposal{{Type: own, Data: []byte("ours")}}, Path: true},
		{Proposals: []mls.Proposal{{Type: mls.ProposalExtensions, Extensions: []mls.Extension{{Type: own, Data: []byte("ours")}}}}},
	} {
		g := x.ours(0).g
		out, err := g.Commit(x.keys, o)
		noError(t, err)
		noError(t, g.Merge(out.Staged))
		_, err = x.seats[1].receive(out.Message)
		noError(t, err)
		agree()
	}

	b := x.seats[1].(*tsMember)
	var answer tsAnswer
	noError(t, b.call("commit", map[string]any{"open": true, "proposals": []map[string]any{
		{"kind": "own", "type": own, "id": hex.EncodeToString([]byte("theirs"))},
	}}, &answer))
	b.last = answer
	parsed, err := mls.ParseMessage(unhex(t, answer.Message))
	noError(t, err)
	r, err := x.ours(0).g.Receive(parsed, nil)
	noError(t, err)
	if p := r.Commit.Proposals(); len(p) != 1 || p[0].Type != own || string(p[0].Data) != "theirs" {
		t.Errorf("talk/mls sees %+v", p)
	}
	noError(t, x.ours(0).g.Merge(r.Commit))
	agree()
}
