package mls_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

func TestGroup_AddRemoveUpdateTalk(t *testing.T) {
	allSuites(t, func(t *testing.T, suite mls.CipherSuite) {
		w := newWorld(t, suite, 1)
		all := groupOf(w, 5)
		talk(t, all)

		// Bob (1) updates by proposal, Carol (2) proposes to remove Dave (3), Eve (4) commits both.
		for _, public := range []bool{false, true} {
			p, err := all[1].group.ProposeUpdate(w.rand(), nil, nil, mls.Framing{Public: public})
			w.ok(err)
			all[1].save()
			for _, c := range without(all, all[1]) {
				if r := c.mustReceive(p); r.Proposal == nil || r.Proposal.Type != mls.ProposalUpdate {
					t.Fatal("no update proposal received")
				}
			}
			if !public {
				p, err := all[2].group.Propose(w.rand(), mls.RemoveProposal(all[3].group.Self()), mls.Framing{})
				w.ok(err)
				all[2].save()
				for _, c := range without(all, all[2]) {
					c.mustReceive(p)
				}
			}
			out := all[len(all)-1].commit(mls.CommitOptions{Framing: mls.Framing{Public: public, AAD: []byte("log")}})
			var left []*client
			for _, c := range all[:len(all)-1] {
				c.restart() // pending proposals and update keys are stored
				st := c.follow(out.Message)
				if string(st.AAD()) != "log" || len(st.Updated()) != 2 {
					t.Errorf("commit has AAD %q and %d updates", st.AAD(), len(st.Updated()))
				}
				if c.group.Removed() != (!public && c == all[3]) || st.SelfRemoved() != c.group.Removed() {
					t.Errorf("%s removed: %v", c.name, c.group.Removed())
				}
				if !c.group.Removed() {
					left = append(left, c)
				}
			}
			all[len(all)-1].merge(out.Staged)
			all = append(left, all[len(all)-1])
			agree(t, all)
			talk(t, all)
		}
		if len(all) != 4 {
			t.Errorf("%d members left, want 4", len(all))
		}
	})
}

func TestGroup_RemovedMemberCannotActButReads(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 2)
	all := groupOf(w, 3)
	late, err := all[0].group.Encrypt(w.rand(), []byte("late"), mls.Framing{})
	w.ok(err)
	all[0].save()
	out := all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.RemoveProposal(2)}})
	all[0].merge(out.Staged)
	all[1].follow(out.Message)
	all[2].follow(out.Message)
	if r := all[2].mustReceive(late); string(r.Data) != "late" {
		t.Errorf("read %q", r.Data)
	}
	if _, err := all[2].group.Encrypt(w.rand(), nil, mls.Framing{}); !errors.Is(err, mls.ErrNotMember) {
		t.Errorf("removed member encrypts: %v", err)
	}
	if _, err := all[2].group.Commit(w.rand(), mls.CommitOptions{}); !errors.Is(err, mls.ErrNotMember) {
		t.Errorf("removed member commits: %v", err)
	}
	b, err := all[0].group.Encrypt(w.rand(), []byte("after"), mls.Framing{})
	w.ok(err)
	if _, err := all[2].receive(b); !errors.Is(err, mls.ErrWrongEpoch) {
		t.Errorf("removed member reads: %v", err)
	}
	agree(t, all[:2])
}

func TestGroup_ExternalJoinAndResync(t *testing.T) {
	allSuites(t, func(t *testing.T, suite mls.CipherSuite) {
		w := newWorld(t, suite, 3)
		all := groupOf(w, 4)
		w.psks["shared"] = []byte("a key from elsewhere")
		for round, inside := range []bool{true, false} {
			b, err := all[1].group.GroupInfo(mls.GroupInfoOptions{External: true, TreeOutside: !inside})
			w.ok(err)
			c := w.client()
			psk, err := mls.ExternalPSKProposal(w.rand(), []byte("shared"))
			w.ok(err)
			o := mls.ExternalJoin{Signer: c.key, Template: c.template(), Policy: w.policy, PSKs: w.psks, Mix: []mls.Proposal{psk}}
			if !inside {
				o.Tree = all[1].group.RatchetTree()
			}
			old := all[3]
			if round == 1 { // the fourth member comes back from a lost device
				c.name, c.key = old.name, old.key
				o.Signer, o.Template = c.key, c.template()
				at := old.group.Self()
				o.Replaces = &at
			}
			g, message, err := mls.JoinExternal(w.rand(), parse(t, b).GroupInfo, o)
			w.ok(err)
			c.group = g
			c.save()
			for _, m := range all {
				st := m.follow(message)
				if len(st.Added()) != 1 || st.Committer().Type != mls.SenderNewMemberCommit {
					t.Errorf("%s sees %d added", m.name, len(st.Added()))
				}
			}
			if round == 1 {
				if !old.group.Removed() {
					t.Error("the old leaf is still a member")
				}
				all = without(all, old)
			}
			all = append(all, c)
			agree(t, all)
			talk(t, all)
			out := c.commit(mls.CommitOptions{Path: true})
			c.merge(out.Staged)
			for _, m := range without(all, c) {
				m.follow(out.Message)
			}
			agree(t, all)
		}
	})
}

func TestGroup_WelcomeWithTreeOutsideAndPSKs(t *testing.T) {
	w := newWorld(t, mls.X25519ChaCha20, 4)
	all := groupOf(w, 3)
	w.psks["x"] = []byte("external")
	c := w.client()
	k, s := c.offer()
	external, err := mls.ExternalPSKProposal(w.rand(), []byte("x"))
	w.ok(err)
	out := all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(k), external}, TreeOutside: true})
	all[0].merge(out.Staged)
	if err := c.join(out.Welcome, k, s, mls.JoinOptions{}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("join without tree: %v", err)
	}
	w.ok(c.join(out.Welcome, k, s, mls.JoinOptions{Tree: all[0].group.RatchetTree()}))
	for _, m := range all[1:] {
		m.follow(out.Message)
	}
	all = append(all, c)
	agree(t, all)

	// A resumption key of an epoch that the newcomer did not see.
	resumption, err := mls.ResumptionPSKProposal(w.rand(), []byte("group"), 1)
	w.ok(err)
	out = all[1].commit(mls.CommitOptions{Proposals: []mls.Proposal{resumption}})
	all[1].merge(out.Staged)
	all[0].follow(out.Message)
	all[2].follow(out.Message)
	if _, err := c.receive(out.Message); !errors.Is(err, mls.ErrUnknownPSK) {
		t.Errorf("newcomer follows without the key: %v", err)
	}
	agree(t, all[:3])
}

func TestGroup_ExternalSendersProposeAndNewMembersAskIn(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 5)
	authority := w.client()
	founder := w.client()
	founder.create("group", mls.ExternalSendersExtension([]mls.ExternalSender{{
		SignatureKey: authority.key[32:], Credential: mls.BasicCredential([]byte("authority"))}}))
	asker, added := w.client(), w.client()
	ka, sa := asker.offer()
	kb, sb := added.offer()
	ask, err := mls.ProposeSelf(asker.key, []byte("group"), 0, ka)
	w.ok(err)
	add, err := mls.ProposeExternally(authority.key, []byte("group"), 0, 0, mls.AddProposal(kb))
	w.ok(err)
	founder.mustReceive(ask)
	founder.mustReceive(add)
	if _, err := founder.receive(add); !errors.Is(err, mls.ErrConsumed) {
		t.Errorf("same proposal again: %v", err)
	}
	stranger, err := mls.ProposeExternally(asker.key, []byte("group"), 0, 0, mls.RemoveProposal(0))
	w.ok(err)
	if _, err := founder.receive(stranger); !errors.Is(err, mls.ErrUnauthentic) {
		t.Errorf("stranger in the authority's name: %v", err)
	}
	unlisted, err := mls.ProposeExternally(asker.key, []byte("group"), 0, 1, mls.RemoveProposal(0))
	w.ok(err)
	if _, err := founder.receive(unlisted); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("sender who is not listed: %v", err)
	}
	out := founder.commit(mls.CommitOptions{})
	founder.merge(out.Staged)
	w.ok(asker.join(out.Welcome, ka, sa, mls.JoinOptions{}))
	w.ok(added.join(out.Welcome, kb, sb, mls.JoinOptions{}))
	agree(t, []*client{founder, asker, added})
	talk(t, []*client{founder, asker, added})
}

func TestGroup_ExtensionsAndCustomProposalsAreTheApplications(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 6)
	all := groupOf(w, 3)
	list := []mls.Extension{{Type: customExtension, Data: []byte("topic")},
		mls.RequiredCapabilities{Proposals: []mls.ProposalType{customProposal}, Credentials: []mls.CredentialType{mls.CredentialBasic}}.Extension()}
	out := all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.ExtensionsProposal(list), mls.CustomProposal(customProposal, []byte("act"))}})
	all[0].merge(out.Staged)
	for _, c := range all[1:] {
		st := c.follow(out.Message)
		if p := st.Proposals(); len(p) != 2 || p[1].Type != customProposal || string(p[1].Data) != "act" {
			t.Errorf("custom proposal did not arrive")
		}
		if data, ok := mls.FindExtension(c.group.Extensions(), customExtension); !ok || string(data) != "topic" {
			t.Errorf("extension is %q", data)
		}
	}
	agree(t, all)

	// Who does not support what the group requires cannot be added.
	c := w.client()
	k, _, err := mls.NewKeyPackage(w.rand(), w.suite, c.key, mls.LeafTemplate{Credential: mls.BasicCredential([]byte("old client"))}, mls.Lifetime{NotAfter: 9})
	w.ok(err)
	if _, err := all[0].group.Commit(w.rand(), mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(k)}}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("added a client without the required capabilities: %v", err)
	}
	if _, err := all[0].group.Propose(w.rand(), mls.CustomProposal(0xF999, nil), mls.Framing{}); !errors.Is(err, mls.ErrUnsupported) {
		t.Errorf("proposed a type nobody handles: %v", err)
	}
	if err := k.VerifyAt(10); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("expired key package: %v", err)
	}
	all[0].same()
}

func TestGroup_PolicyJudgesEveryCredential(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 7)
	banned := "member-003"
	seen := map[string]int{}
	w.policy.Check = func(c mls.Candidate) error {
		seen[string(c.Credential.Identity)]++
		if string(c.Credential.Identity) == banned {
			return errors.New("banned")
		}
		return nil
	}
	all := groupOf(w, 2)
	c := w.client()
	k, _ := c.offer()
	if _, err := all[0].group.Commit(w.rand(), mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(k)}}); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("banned client added: %v", err)
	}
	all[0].same()
	gi, err := all[0].group.GroupInfo(mls.GroupInfoOptions{External: true})
	w.ok(err)
	lax := w.policy
	lax.Check = func(mls.Candidate) error { return nil }
	_, message, err := mls.JoinExternal(w.rand(), parse(t, gi).GroupInfo, mls.ExternalJoin{Signer: c.key, Template: c.template(), Policy: lax})
	w.ok(err)
	if _, err := all[1].receive(message); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("banned client joined from outside: %v", err)
	}
	for _, m := range all {
		if seen[m.name] == 0 {
			t.Errorf("%s was never judged", m.name)
		}
	}
}

func TestGroup_OwnStagedCommitSurvivesRestart(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 10)
	all := groupOf(w, 9)
	c := w.client()
	k, s := c.offer()
	out := all[3].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.RemoveProposal(8), mls.RemoveProposal(5), mls.AddProposal(k)}})
	kept, err := out.Staged.MarshalBinary()
	w.ok(err)
	all[3].restart()
	st, err := all[3].group.LoadStaged(kept)
	w.ok(err)
	if len(st.Added()) != 1 || len(st.Removed()) != 2 || len(st.Proposals()) != 3 {
		t.Errorf("staged commit lost what it does: %d added, %d removed", len(st.Added()), len(st.Removed()))
	}
	all[3].merge(st)
	w.ok(c.join(out.Welcome, k, s, mls.JoinOptions{}))
	left := []*client{all[3], c}
	for i, m := range all {
		if i != 3 {
			m.follow(out.Message)
		}
		if i != 3 && i != 8 && i != 5 {
			left = append(left, m)
		}
	}
	agree(t, left)
	talk(t, left)
	if _, err := all[3].group.LoadStaged(kept); !errors.Is(err, mls.ErrWrongEpoch) {
		t.Errorf("old staged commit loads again: %v", err)
	}
}

func TestGroup_SigningKeyChangesWithTheLeaf(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 11)
	all := groupOf(w, 3)
	next := w.client()
	out := all[1].commit(mls.CommitOptions{Signer: next.key, Proposals: nil})
	all[1].merge(out.Staged)
	all[0].follow(out.Message)
	all[2].follow(out.Message)
	if !bytes.Equal(all[0].group.Leaf(1).SignatureKey, next.key[32:]) {
		t.Error("signing key did not change")
	}
	all[1].key = next.key
	all[1].restart()
	agree(t, all)
	talk(t, all)
}
