package mls_test

import (
	"errors"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// TestGroup_PoisonedProposalsDoNotStopCommits: a member proposes to add
// clients that cannot be added. The others' commits go on without them.
func TestGroup_PoisonedProposalsDoNotStopCommits(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 12)
	w.policy.Check = func(c mls.Candidate) error {
		if string(c.Credential.Identity) == "member-006" {
			return errors.New("banned")
		}
		return nil
	}
	all := groupOf(w, 4)
	again, _ := all[2].offer() // a key package of somebody who is in already
	fine, _ := w.client().offer()
	stranger := w.client()
	banned, _ := stranger.offer()
	unknown, err := mls.ExternalPSKProposal(w.rand(), []byte("nobody has it"))
	w.ok(err)
	b, err := all[1].group.Propose(w.rand(), unknown, mls.Framing{})
	w.ok(err)
	all[1].save()
	for _, c := range without(all, all[1]) {
		c.mustReceive(b)
	}
	for _, k := range []*mls.KeyPackage{again, fine, banned} {
		b, err := all[1].group.Propose(w.rand(), mls.AddProposal(k), mls.Framing{})
		w.ok(err)
		all[1].save()
		for _, c := range without(all, all[1]) {
			c.mustReceive(b)
		}
	}
	out := all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.RemoveProposal(3)}})
	if n := len(out.Staged.Added()); n != 1 {
		t.Errorf("%d added, want the one that can be", n)
	}
	all[0].merge(out.Staged)
	all[1].follow(out.Message)
	all[2].follow(out.Message)
	agree(t, all[:3])
	talk(t, all[:3])
}

// TestGroup_LateMessagesAreReadWithTheKeysOfTheirEpoch: their senders have
// since been removed, have changed their signing key, or gave up their place.
func TestGroup_LateMessagesAreReadWithTheKeysOfTheirEpoch(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 13)
	all := groupOf(w, 4)
	var late [][]byte
	for _, c := range all[1:3] {
		b, err := c.group.Encrypt(w.rand(), []byte("from "+c.name), mls.Framing{})
		w.ok(err)
		c.save()
		late = append(late, b)
	}
	proposal, err := all[1].group.Propose(w.rand(), mls.RemoveProposal(3), mls.Framing{})
	w.ok(err)
	next := w.client()
	out := all[2].commit(mls.CommitOptions{Signer: next.key, Proposals: []mls.Proposal{mls.RemoveProposal(1)}})
	all[2].merge(out.Staged)
	for _, c := range []*client{all[0], all[1], all[3]} {
		c.follow(out.Message)
	}
	newcomer := w.client()
	k, s := newcomer.offer()
	out = all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(k)}}) // takes leaf 1
	all[0].merge(out.Staged)
	all[3].follow(out.Message)
	w.ok(newcomer.join(out.Welcome, k, s, mls.JoinOptions{}))
	for _, restart := range []bool{false, true} {
		c := all[0]
		if restart {
			c = all[3]
			c.restart()
		}
		for i, b := range late {
			r := c.mustReceive(b)
			if got := string(r.Leaf.Credential.Identity); got != all[i+1].name || r.Epoch != 1 {
				t.Errorf("late message %d is from %s in epoch %d", i, got, r.Epoch)
			}
		}
	}
	if _, err := newcomer.receive(late[0]); !errors.Is(err, mls.ErrWrongEpoch) {
		t.Errorf("newcomer reads what was before it: %v", err)
	}
	if _, err := all[0].receive(proposal); !errors.Is(err, mls.ErrWrongEpoch) {
		t.Errorf("proposal of a past epoch: %v", err)
	}
}

func TestGroup_JoinersJudgeEveryMemberAndWantTheRightTree(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 14)
	all := groupOf(w, 3)
	c := w.client()
	k, s := c.offer()
	old := all[0].group.RatchetTree()
	out := all[0].commit(mls.CommitOptions{TreeOutside: true, Proposals: []mls.Proposal{mls.AddProposal(k)}})
	all[0].merge(out.Staged)
	if err := c.join(out.Welcome, k, s, mls.JoinOptions{Tree: old}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("joined with the tree of another epoch: %v", err)
	}
	accept := w.policy.Check
	w.policy.Check = func(c mls.Candidate) error {
		if string(c.Credential.Identity) == all[2].name {
			return errors.New("unknown device")
		}
		return nil
	}
	if err := c.join(out.Welcome, k, s, mls.JoinOptions{Tree: all[0].group.RatchetTree()}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("joined a group with a member it does not accept: %v", err)
	}
	w.policy.Check = accept
	w.ok(c.join(out.Welcome, k, s, mls.JoinOptions{Tree: all[0].group.RatchetTree()}))
}
