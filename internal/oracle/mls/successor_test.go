package mls_test

import (
	"encoding/hex"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// kin is a group of talk/mls, ts-mls and talk/mls, out of which others are made.
type kin struct {
	*table
	ts *tsClient
}

func newKin(t testing.TB) *kin {
	x := &kin{table: newTable(t, "ours")}
	x.ts = newTS(t, x.suite, "client-ts", corrections()...)
	for _, c := range []client{x.ts, x.newClient("ours", "client-c")} {
		k, err := c.offer()
		noError(t, err)
		x.client = append(x.client, c)
		x.commit(0, c, proposal{kind: proposeAdd, keyPackage: k})
	}
	return x
}

// offers makes key packages for a suite: of the first or the second on
// talk/mls, and of the one on ts-mls.
func (x *kin) offers(i int, suite mls.CipherSuite) (ours ourOffer, ts *mls.KeyPackage) {
	c := x.client[i].(*ourClient)
	k, secrets, err := mls.NewKeyPackage(x.keys, suite, c.signer, c.template(), mls.Lifetime{NotAfter: 1 << 40})
	noError(x.t, err)
	var a tsAnswer
	noError(x.t, x.ts.call("offer", map[string]any{"identity": x.ts.identity, "suite": uint16(suite)}, &a))
	m, err := mls.ParseMessage(unhex(x.t, a.Message))
	noError(x.t, err)
	return ourOffer{k, secrets}, m.KeyPackage
}

// joinOurs lets a member on talk/mls enter the successor of its group.
func (x *kin) joinOurs(i int, o ourOffer, welcome, tree []byte) *ourMember {
	m, err := mls.ParseMessage(welcome)
	noError(x.t, err)
	c := x.client[i].(*ourClient)
	g, _, err := mls.Join(m.Welcome, o.pack, o.secrets, mls.JoinOptions{Signer: c.signer, Policy: anyPolicy(), Parent: x.ours(i).g, Tree: tree})
	noError(x.t, err)
	return c.hold(g)
}

func (x *kin) joinTS(suite mls.CipherSuite, welcome []byte, reinit bool) member {
	m, err := x.ts.enter("joinSuccessor", map[string]any{"group": x.seats[1].(*tsMember).group, "suite": uint16(suite),
		"welcome": hex.EncodeToString(welcome), "reinit": reinit}, &tsAnswer{})
	noError(x.t, err)
	return m
}

// same compares views, and lets the first write to the others.
func (x *kin) same(list ...member) {
	x.t.Helper()
	want, err := list[0].state()
	noError(x.t, err)
	message, err := list[0].encrypt([]byte("here we are"))
	noError(x.t, err)
	for _, m := range list[1:] {
		got, err := m.state()
		noError(x.t, err)
		noError(x.t, want.same(got))
		data, err := m.receive(message)
		noError(x.t, err)
		if string(data) != "here we are" {
			x.t.Fatalf("read %q", data)
		}
	}
}

// succeedOurs makes the successor on talk/mls and lets all in.
func (x *kin) succeedOurs(suite mls.CipherSuite, reinit bool) {
	x.t.Helper()
	offer, ts := x.offers(2, suite)
	o := mls.Successor{Members: []*mls.KeyPackage{ts, offer.pack}}
	parent := x.ours(0)
	var g *mls.Group
	var out *mls.Committed
	var err error
	if reinit {
		g, out, err = parent.g.Reinitialise(x.keys, o)
	} else {
		g, out, err = parent.g.Branch(x.keys, []byte("branch"), nil, o)
	}
	noError(x.t, err)
	noError(x.t, g.Merge(out.Staged))
	x.same(parent.c.hold(g), x.joinTS(suite, out.Welcome, reinit), x.joinOurs(2, offer, out.Welcome, nil))
}

// succeedTS makes the successor on ts-mls, whose Welcome carries no tree then.
func (x *kin) succeedTS(suite mls.CipherSuite, id string, reinit bool) {
	x.t.Helper()
	first, _ := x.offers(0, suite)
	second, _ := x.offers(2, suite)
	var a tsAnswer
	m, err := x.ts.enter("succeed", map[string]any{"group": x.seats[1].(*tsMember).group, "id": hex.EncodeToString([]byte(id)),
		"suite": uint16(suite), "reinit": reinit,
		"keyPackages": []string{hex.EncodeToString(first.pack.Message()), hex.EncodeToString(second.pack.Message())}}, &a)
	noError(x.t, err)
	welcome, tree := unhex(x.t, a.Welcome), unhex(x.t, a.Tree)
	x.same(m, x.joinOurs(0, first, welcome, tree), x.joinOurs(2, second, welcome, tree))
}

func TestBranch_AgreesWithTSMLS(t *testing.T) {
	needNode(t)
	x := newKin(t)
	x.succeedOurs(x.suite, false)
	x.succeedTS(x.suite, "their branch", false)
	x.same(x.seats...) // the parent lives on
}

func TestReInit_AgreesWithTSMLS(t *testing.T) {
	needNode(t)
	for _, by := range []string{"ours", "ts-mls"} {
		for _, open := range []bool{false, true} {
			x := newKin(t)
			const next = mls.X25519ChaCha20
			var message []byte
			var err error
			if by == "ours" {
				m := x.ours(0)
				var out *mls.Committed
				out, err = m.g.Commit(x.keys, mls.CommitOptions{Framing: mls.Framing{Public: open}, Proposals: []mls.Proposal{{
					Type: mls.ProposalReInit, ReInit: &mls.ReInit{GroupID: []byte("next"), Version: 1, Suite: next}}}})
				noError(t, err)
				noError(t, m.g.Merge(out.Staged))
				message = out.Message
			} else {
				message, err = x.seats[1].(*tsMember).message("reinit", map[string]any{"id": hex.EncodeToString([]byte("next")), "suite": uint16(next)})
				noError(t, err)
				_, err = x.seats[0].receive(message)
				noError(t, err)
			}
			for _, m := range x.seats[1:] {
				if _, isTS := m.(*tsMember); isTS && by != "ours" {
					continue
				}
				_, err := m.receive(message)
				noError(t, err)
			}
			if x.ours(0).g.Ended() == nil || x.ours(2).g.Ended() == nil {
				t.Fatal("the group goes on")
			}
			if open {
				x.succeedOurs(next, true)
			} else {
				x.succeedTS(next, "next", true)
			}
		}
	}
}
