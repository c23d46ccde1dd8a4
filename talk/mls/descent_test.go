package mls

import (
	"errors"
	"testing"
)

// TestDescent_IsHeldAgainstTheParent checks what a Welcome may claim about the
// group it comes from.
func TestDescent_IsHeldAgainstTheParent(t *testing.T) {
	parent := testGroup(t, X25519AES128, 3, anyPolicy())[0]
	ended, err := parent.Clone()
	noError(t, err)
	ended.reinit = &ReInit{GroupID: []byte("next"), Version: 1, Suite: XWingAES128, Extensions: []Extension{{Type: 0xF001}}}
	some := parent.tree.clone()
	some.setLeaf(2, nil)
	strangers := testGroup(t, X25519AES128, 4, anyPolicy())[0].tree
	branch := PSKID{Type: PSKResumption, Usage: UsageBranch, GroupID: parent.ID(), Epoch: parent.Epoch()}
	reinit := PSKID{Type: PSKResumption, Usage: UsageReInit, GroupID: parent.ID(), Epoch: parent.Epoch()}
	young := GroupContext{Suite: X25519AES128, GroupID: []byte("child"), Epoch: 1}
	next := GroupContext{Suite: XWingAES128, GroupID: []byte("next"), Epoch: 1, Extensions: ended.reinit.Extensions}
	with := func(c GroupContext, f func(*GroupContext)) GroupContext { f(&c); return c }
	for _, c := range []struct {
		name    string
		good    bool
		parent  *Group
		context GroupContext
		psks    []PSKID
		tree    *ratchetTree
	}{
		{"nothing claimed", true, nil, young, nil, parent.tree},
		{"a branch of some", true, parent, young, []PSKID{branch}, some},
		{"a branch of all", true, parent, young, []PSKID{branch}, parent.tree},
		{"a branch without the parent", false, nil, young, []PSKID{branch}, some},
		{"a branch of another group", false, parent, young, []PSKID{{Type: PSKResumption, Usage: UsageBranch, GroupID: []byte("x")}}, some},
		{"a branch at a later epoch", false, parent, with(young, func(c *GroupContext) { c.Epoch = 2 }), []PSKID{branch}, some},
		{"a branch with another suite", false, parent, with(young, func(c *GroupContext) { c.Suite = X25519ChaCha20 }), []PSKID{branch}, some},
		{"a branch with a stranger", false, parent, young, []PSKID{branch}, strangers},
		{"two claims", false, ended, next, []PSKID{branch, reinit}, parent.tree},
		{"a successor", true, ended, next, []PSKID{reinit}, parent.tree},
		{"a successor of a group that has not ended", false, parent, next, []PSKID{reinit}, parent.tree},
		{"a successor without everybody", false, ended, next, []PSKID{reinit}, some},
		{"a successor with a stranger", false, ended, next, []PSKID{reinit}, strangers},
		{"a successor of an earlier epoch", false, ended, next, []PSKID{{Type: PSKResumption, Usage: UsageReInit, GroupID: parent.ID()}}, parent.tree},
		{"a successor with another suite", false, ended, with(next, func(c *GroupContext) { c.Suite = X25519AES128 }), []PSKID{reinit}, parent.tree},
		{"a successor with another id", false, ended, with(next, func(c *GroupContext) { c.GroupID = []byte("other") }), []PSKID{reinit}, parent.tree},
		{"a successor with other extensions", false, ended, with(next, func(c *GroupContext) { c.Extensions = nil }), []PSKID{reinit}, parent.tree},
	} {
		o := JoinOptions{Parent: c.parent}
		err := o.checkDescent(&GroupInfo{Context: c.context}, c.psks, c.tree)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestLoad_RefusesRecordsOfDifferentTimes(t *testing.T) {
	groups := testGroup(t, X25519AES128, 4, anyPolicy())
	old := map[string][]byte{}
	for _, r := range groups[0].Snapshot() {
		old[r.Key] = r.Value
	}
	rekey(t, groups, 1)
	records := groups[0].Snapshot()
	if _, err := Load(records, anyPolicy()); err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if r.Key[0] != byte(kindLeaf) || string(old[r.Key]) == string(r.Value) {
			continue
		}
		records[i].Value = old[r.Key]
		if _, err := Load(records, anyPolicy()); !errors.Is(err, ErrMalformed) {
			t.Errorf("a leaf of the epoch before was taken: %v", err)
		}
		records[i].Value = r.Value
		if _, err := Load(append(records[:i:i], records[i+1:]...), anyPolicy()); !errors.Is(err, ErrMalformed) {
			t.Errorf("a missing leaf was not missed: %v", err)
		}
		return
	}
	t.Error("the commit changed no leaf")
}
