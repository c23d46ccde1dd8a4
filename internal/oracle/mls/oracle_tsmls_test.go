package mls_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
)

// Each test here shows a fault of ts-mls 1.6.4 and that talk/mls does the same
// thing right. If one fails because the fault is gone, its correction in
// node/corrections.json has to go too.

const goneTS = "the oracle has changed: this fault of ts-mls is gone"

// corrections applied in TestRandomGroups.
func corrections() []string { return []string{"unmerged", "external_pub", "xwing", "xwing-derive"} }

func newTS(t testing.TB, suite mls.CipherSuite, identity string, corrections ...string) *tsClient {
	c, err := newTSClient(startChild(t, "driver.mjs", corrections...), identity, suite)
	noError(t, err)
	return c
}

// TestTSMLS_DemandsEqualUnmergedLeaves: a tree in which the root has two
// unmerged leaves and the node over the left half has one of them.
func TestTSMLS_DemandsEqualUnmergedLeaves(t *testing.T) {
	needNode(t)
	x := newTable(t, "ours", "ours", "ours", "ours", "ours", "ours", "ours", "ours")
	x.seats[3], x.seats[7] = nil, nil
	x.commit(0, nil, proposal{kind: proposeRemove, leaf: 3}, proposal{kind: proposeRemove, leaf: 7})
	plain := newTS(t, x.suite, "plain")
	corrected := newTS(t, x.suite, "corrected", "unmerged")
	ours := x.newClient("ours", "ours")
	var adds []proposal
	joiners := []client{plain, corrected, ours}
	for _, c := range joiners {
		k, err := c.offer()
		noError(t, err)
		adds = append(adds, proposal{kind: proposeAdd, keyPackage: k})
	}
	_, welcome, err := x.seats[0].commit(adds, true)
	noError(t, err)
	want, err := x.seats[0].state()
	noError(t, err)
	for _, c := range joiners {
		m, err := c.join(welcome)
		if c == plain {
			if err == nil || !strings.Contains(err.Error(), "unmerged_leaves") {
				t.Error(goneTS, err)
			}
			continue
		}
		noError(t, err)
		got, err := m.state()
		noError(t, err)
		noError(t, want.same(got))
	}
}

// TestTSMLS_ExternalPubHasNoLength, neither in what it writes nor in what it
// reads, and mls-go guesses which of the two it has: a key that starts like a
// length is read as something shorter.
func TestTSMLS_ExternalPubHasNoLength(t *testing.T) {
	needNode(t)
	x := newTable(t, "ours", "ours")
	info, err := x.seats[0].groupInfo()
	noError(t, err)
	plain := newTS(t, x.suite, "plain", "unmerged")
	if _, _, err := plain.joinExternal(info, nil); err == nil {
		t.Error(goneTS)
	}
	corrected := newTS(t, x.suite, "corrected", "external_pub")
	_, commit, err := corrected.joinExternal(info, nil)
	noError(t, err)
	_, err = x.seats[1].receive(commit)
	noError(t, err)

	guessed := false
	for i := 0; i < 40 && !guessed; i++ {
		m, err := plain.create(fmt.Appendf(nil, "plain %d", i))
		noError(t, err)
		_, _, err = m.commit(nil, true)
		noError(t, err)
		info, err := m.groupInfo()
		noError(t, err)
		if _, _, err := x.newClient("ours", "joiner").joinExternal(info, nil); !errors.Is(err, mls.ErrMalformed) {
			t.Fatalf("talk/mls joins by an external_pub without length: %v", err)
		}
		f, err := framing.UnmarshalMLSMessage(info)
		noError(t, err)
		gi, err := group.UnmarshalGroupInfo(f.GroupInfo)
		noError(t, err)
		key, _ := mls.FindExtension(extensionsOf(gi.Extensions), mls.ExtExternalPub)
		_, _, err = x.newClient("mls-go", "joiner").joinExternal(info, nil)
		if looksLong := key[0] == 0 || key[0] >= 32; looksLong && err != nil {
			t.Fatal(gone, err)
		} else if looksLong {
			guessed = true
		}
	}
	if !guessed {
		t.Error("no group had a key that mls-go takes as it is")
	}
}

func extensionsOf(list []group.Extension) (out []mls.Extension) {
	for _, e := range list {
		out = append(out, mls.Extension{Type: mls.ExtensionType(e.Type), Data: e.Data})
	}
	return out
}

// TestTSMLS_CommitsExtensionsWithoutPath although RFC 9420 §12.4 allows that
// for Add, PreSharedKey and ReInit alone. It also accepts such commits.
func TestTSMLS_CommitsExtensionsWithoutPath(t *testing.T) {
	needNode(t)
	x := newTable(t, "ours", "ours")
	c := newTS(t, x.suite, "committer", corrections()...)
	k, err := c.offer()
	noError(t, err)
	x.commit(0, c, proposal{kind: proposeAdd, keyPackage: k})
	message, _, err := x.seats[2].commit([]proposal{{kind: proposeExtensions,
		extensions: []mls.Extension{{Type: mls.ExtApplicationID, Data: []byte("x")}}}}, true)
	noError(t, err)
	_, err = x.seats[0].receive(message)
	if !errors.Is(err, mls.ErrInvalid) || !strings.Contains(err.Error(), "path") {
		t.Errorf("talk/mls on a commit of extensions without path: %v (or %s)", err, goneTS)
	}
	noError(t, x.ours(1).mustRefuse(message))
}

// TestTSMLS_DerivesXWingKeysOfAnotherDraft: draft-connolly-cfrg-xwing-kem and
// draft-ietf-hpke-pq share KEM 0x647A and derive different key pairs, so a
// group breaks at the first path.
func TestTSMLS_DerivesXWingKeysOfAnotherDraft(t *testing.T) {
	needNode(t)
	for _, derive := range []bool{false, true} {
		x := newTable(t)
		x.suite = mls.XWingAES128
		ours := x.newClient("ours", "ours")
		with := corrections()
		if !derive {
			with = with[:len(with)-1]
		}
		c := newTS(t, x.suite, "ts", with...)
		m, err := c.create([]byte("hybrid"))
		noError(t, err)
		k, err := ours.offer()
		noError(t, err)
		_, welcome, err := m.commit([]proposal{{kind: proposeAdd, keyPackage: k}}, true)
		noError(t, err)
		o, err := ours.join(welcome)
		noError(t, err)
		message, _, err := m.commit(nil, true)
		noError(t, err)
		if _, err := o.receive(message); (err == nil) != derive {
			t.Errorf("corrected %v: %v (or %s)", derive, err, goneTS)
		}
	}
}
