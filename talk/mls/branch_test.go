package mls_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

func TestGroup_Branch(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 8)
	all := groupOf(w, 4)
	var offers []*mls.KeyPackage
	var secrets []*mls.KeyPackageSecrets
	for _, c := range all[1:3] {
		k, s := c.offer()
		offers, secrets = append(offers, k), append(secrets, s)
	}
	child, out, err := all[0].group.Branch(w.rand(), []byte("mutiny"), nil, mls.Successor{Members: offers})
	w.ok(err)
	w.ok(child.Merge(out.Staged))
	for i, c := range all[1:3] {
		parent := c.group
		d := *c
		if err := d.join(out.Welcome, offers[i], secrets[i], mls.JoinOptions{}); err == nil {
			t.Error("joined a branch without its parent")
		}
		w.ok(d.join(out.Welcome, offers[i], secrets[i], mls.JoinOptions{Parent: parent}))
		if !bytes.Equal(d.group.EpochAuthenticator(), child.EpochAuthenticator()) {
			t.Error("branch disagrees")
		}
	}
	stranger := w.client()
	k, _ := stranger.offer()
	if _, _, err := all[0].group.Branch(w.rand(), []byte("other"), nil, mls.Successor{Members: []*mls.KeyPackage{k}}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("branched with a stranger: %v", err)
	}
	talk(t, all) // the old group goes on
}

func TestGroup_ReInitMovesToAnotherSuite(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 9)
	all := groupOf(w, 3)
	out := all[1].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.ReInitProposal(mls.ReInit{GroupID: []byte("next"), Suite: mls.XWingAES128})}})
	all[1].merge(out.Staged)
	all[0].follow(out.Message)
	all[2].follow(out.Message)
	for _, c := range all {
		c.restart()
		if r := c.group.Ended(); r == nil || string(r.GroupID) != "next" {
			t.Fatal("the group has not ended")
		}
		if _, err := c.group.Encrypt(w.rand(), nil, mls.Framing{}); !errors.Is(err, mls.ErrSuspended) {
			t.Errorf("encrypt in an ended group: %v", err)
		}
	}
	w.suite = mls.XWingAES128
	k0, s0 := all[0].offer()
	k1, s1 := all[1].offer()
	if _, _, err := all[2].group.Reinitialise(w.rand(), mls.Successor{Members: []*mls.KeyPackage{k0}}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("reinitialised without everybody: %v", err)
	}
	next, out, err := all[2].group.Reinitialise(w.rand(), mls.Successor{Members: []*mls.KeyPackage{k0, k1}})
	w.ok(err)
	w.ok(next.Merge(out.Staged))
	w.ok(all[0].join(out.Welcome, k0, s0, mls.JoinOptions{Parent: all[0].group}))
	w.ok(all[1].join(out.Welcome, k1, s1, mls.JoinOptions{Parent: all[1].group}))
	all[2].group, all[2].stored = next, map[string][]byte{}
	all[2].save()
	agree(t, all)
	talk(t, all)
}
