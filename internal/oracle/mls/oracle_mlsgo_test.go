package mls_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	mlsgo "github.com/thomas-vilte/mls-go"
	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
	"github.com/thomas-vilte/mls-go/schedule"

	"github.com/confab-chat/confab/talk/mls"
)

// Each test here shows a fault of mls-go 1.6.0 and that talk/mls does the same
// thing right. A test that fails because the fault is gone says so: then the
// oracle has changed, and what the driver avoids for its sake can be compared.

const gone = "the oracle has changed: this fault of mls-go is gone"

// table is a small group: the first is on mls-go and founded it.
type table struct {
	t      testing.TB
	keys   io.Reader
	suite  mls.CipherSuite
	seats  []member
	client []client
}

// newTable seats clients of the given kinds in one group, each added by the first.
func newTable(t testing.TB, kinds ...string) *table {
	x := &table{t: t, keys: rand.NewChaCha8([32]byte{1}), suite: mls.X25519AES128}
	for i, kind := range kinds {
		c := x.newClient(kind, "client-"+string(rune('a'+i)))
		if i == 0 {
			m, err := c.create([]byte("table"))
			noError(t, err)
			x.seats, x.client = []member{m}, []client{c}
			continue
		}
		k, err := c.offer()
		noError(t, err)
		x.client = append(x.client, c)
		x.commit(0, c, proposal{kind: proposeAdd, keyPackage: k})
	}
	return x
}

func (x *table) newClient(kind, identity string) (c client) {
	var err error
	switch kind {
	case "ours":
		c, err = newOurClient(identity, x.suite, x.keys)
	case "mls-go":
		c, err = newGoClient(identity, x.suite)
	default:
		x.t.Fatalf("no kind %q", kind)
	}
	noError(x.t, err)
	return c
}

// commit lets a seat commit in the open, the others receive, and one join.
func (x *table) commit(from int, joiner client, list ...proposal) {
	x.t.Helper()
	message, welcome, err := x.seats[from].commit(list, true)
	noError(x.t, err)
	for i, m := range x.seats {
		if i != from && m != nil {
			_, err := m.receive(message)
			noError(x.t, err)
		}
	}
	if joiner != nil {
		m, err := joiner.join(welcome)
		noError(x.t, err)
		x.seats = append(x.seats, m)
	}
}

func (x *table) goGroup(i int) *group.Group { return x.seats[i].(*goMember).g }
func (x *table) ours(i int) *ourMember      { return x.seats[i].(*ourMember) }

// lyingCommit is a commit by the first seat, an insider: signed and tagged as a
// member's, but its confirmation tag is wrong. The insider stays in its epoch.
func (x *table) lyingCommit() []byte {
	m := x.seats[0].(*goMember)
	staged, err := m.g.CommitWithFormat(m.c.signer, m.c.signer.PublicKey(), nil, framing.WireFormatPublicMessage)
	noError(x.t, err)
	ac := staged.AuthenticatedContent()
	ac.Auth.ConfirmationTag = bytes.Repeat([]byte{0xAB}, 32)
	tag := schedule.ComputeMembershipTag(m.c.suite, m.g.EpochSecrets().MembershipKey.AsSlice(), ac.MarshalTBM())
	noError(x.t, m.g.DiscardPendingCommit())
	return framing.NewMLSMessagePublic(&framing.PublicMessage{Content: ac.Content, Auth: ac.Auth, MembershipTag: tag}).Marshal()
}

func TestMLSGo_IsBrickedByARejectedCommit(t *testing.T) {
	x := newTable(t, "mls-go", "mls-go", "ours", "ours")
	lie := x.lyingCommit()
	noError(t, x.ours(2).mustRefuse(lie))
	before := x.goGroup(1).Epoch()
	if _, err := x.seats[1].receive(lie); err == nil {
		t.Fatal("mls-go accepts a wrong confirmation tag")
	}
	if x.goGroup(1).Epoch() == before {
		t.Error(gone)
	}
	honest, _, err := x.seats[3].commit(nil, true)
	noError(t, err)
	if _, err := x.seats[1].receive(honest); err == nil {
		t.Error(gone)
	}
	if _, err := x.seats[2].receive(honest); err != nil {
		t.Errorf("talk/mls cannot follow the honest commit: %v", err)
	}
}

// longHex is what a secret in an error text looks like.
var longHex = regexp.MustCompile(`[0-9a-fA-F]{16}`)

func TestMLSGo_PrintsSecretsInErrors(t *testing.T) {
	x := newTable(t, "mls-go", "mls-go", "ours")
	lie := x.lyingCommit()
	secret := hex.EncodeToString(x.goGroup(1).EpochSecrets().InitSecret.AsSlice())
	_, err := x.seats[1].receive(lie)
	if err == nil || !strings.Contains(err.Error(), secret) {
		t.Error(gone, err)
	}
	_, err = x.seats[2].receive(lie)
	if err == nil || longHex.MatchString(err.Error()) {
		t.Errorf("talk/mls on the same: %v", err)
	}
}

func TestMLSGo_KeepsKeysOfReadMessages(t *testing.T) {
	x := newTable(t, "mls-go", "mls-go", "ours")
	message, err := x.seats[0].encrypt([]byte("once"))
	noError(t, err)
	for _, m := range x.seats[1:] {
		_, err := m.receive(message)
		noError(t, err)
	}
	stolen, err := x.goGroup(1).MarshalState()
	noError(t, err)
	g, err := group.UnmarshalGroupState(stolen)
	noError(t, err)
	if data, err := (&goMember{c: x.client[1].(*goClient), g: g}).receive(message); string(data) != "once" {
		t.Error(gone, err)
	}
	noError(t, x.ours(2).restart())
	if _, err := x.seats[2].receive(message); !errors.Is(err, mls.ErrConsumed) {
		t.Errorf("talk/mls, stolen after reading: %v", err)
	}
}

func TestMLSGo_ClientAcceptsReplays(t *testing.T) {
	ctx := t.Context()
	quiet := mlsgo.WithLogger(slog.New(slog.DiscardHandler))
	alice, err := mlsgo.NewClient([]byte("alice"), ciphersuite.MLS128DHKEMX25519, quiet)
	noError(t, err)
	bob, err := mlsgo.NewClient([]byte("bob"), ciphersuite.MLS128DHKEMX25519, quiet)
	noError(t, err)
	offer, err := bob.FreshKeyPackageBytes(ctx)
	noError(t, err)
	id, err := alice.CreateGroup(ctx)
	noError(t, err)
	_, welcome, err := alice.InviteMember(ctx, id, offer)
	noError(t, err)
	_, err = bob.JoinGroup(ctx, welcome)
	noError(t, err)
	message, err := alice.SendMessage(ctx, id, []byte("pay 10"))
	noError(t, err)
	_, err = bob.ReceiveMessage(ctx, id, message)
	noError(t, err)
	if _, err := bob.ReceiveMessage(ctx, id, message); err != nil {
		t.Error(gone, err)
	}
	// talk/mls: TestMLSGo_KeepsKeysOfReadMessages, and each replay of TestRandomGroups.
}

func TestMLSGo_TurnsTheRatchetWithoutBound(t *testing.T) {
	const jump = 100_000
	x := newTable(t, "mls-go", "mls-go", "ours")
	m := x.seats[0].(*goMember)
	leaf, err := m.g.SecretTree().LeafForIndex(uint32(m.g.OwnLeafIndex()))
	noError(t, err)
	leaf.SetSequenceNumber(jump)
	message, err := m.encrypt([]byte("from far away"))
	noError(t, err)
	// Damaged, so that the work is for a message that proves to be nobody's.
	damaged := bytes.Clone(message)
	damaged[len(damaged)-1] ^= 1
	if _, err := x.seats[1].receive(damaged); err == nil {
		t.Fatal("mls-go accepts a damaged message")
	}
	got, err := x.goGroup(1).SecretTree().LeafForIndex(0)
	noError(t, err)
	if got.CurrentGeneration() < jump {
		t.Errorf("%s: generation %d after a damaged message", gone, got.CurrentGeneration())
	}
	noError(t, x.ours(2).mustRefuse(damaged))
	for _, b := range [][]byte{message, damaged} {
		if _, err := x.seats[2].receive(b); !errors.Is(err, mls.ErrTooFarAhead) {
			t.Errorf("talk/mls, %d messages ahead: %v", jump, err)
		}
	}
}

func TestMLSGo_ExternalJoinerHasNoConfirmationTag(t *testing.T) {
	x := newTable(t, "ours", "ours")
	info, err := x.seats[1].groupInfo()
	noError(t, err)
	join := func(kind string) member {
		m, commit, err := x.newClient(kind, "joiner-"+kind).joinExternal(info, nil)
		noError(t, err)
		_, err = x.seats[0].receive(commit)
		noError(t, err)
		return m
	}
	joined := join("mls-go")
	info, err = joined.groupInfo()
	noError(t, err)
	m, err := framing.UnmarshalMLSMessage(info)
	noError(t, err)
	gi, err := group.UnmarshalGroupInfo(m.GroupInfo)
	noError(t, err)
	if len(gi.ConfirmationTag) != 0 {
		t.Error(gone)
	}
	if _, _, err := x.newClient("ours", "second").joinExternal(info, nil); !errors.Is(err, mls.ErrInvalid) {
		t.Errorf("talk/mls joins by a group info without confirmation tag: %v", err)
	}
	// The same with talk/mls: somebody joins by the joiner's group info.
	info, err = x.seats[0].groupInfo()
	noError(t, err)
	joined = join("ours")
	info, err = joined.groupInfo()
	noError(t, err)
	join("ours")
}

func TestMLSGo_LosesLateMessages(t *testing.T) {
	for name, then := range map[string]proposal{
		"of a member who left":               {kind: proposeRemove, leaf: 1},
		"from before a change of extensions": {kind: proposeExtensions, extensions: []mls.Extension{{Type: mls.ExtApplicationID, Data: []byte("x")}}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTable(t, "ours", "ours", "mls-go", "ours")
			message, err := x.seats[1].encrypt([]byte("late"))
			noError(t, err)
			if then.kind == proposeRemove {
				x.seats[1] = nil
			}
			x.commit(0, nil, then)
			if _, err := x.seats[2].receive(message); err == nil {
				t.Error(gone)
			}
			if data, err := x.seats[3].receive(message); string(data) != "late" {
				t.Errorf("talk/mls reads %q: %v", data, err)
			}
		})
	}
}

func TestMLSGo_RefusesPaddedHandshakes(t *testing.T) {
	x := newTable(t, "ours", "mls-go", "ours")
	m := x.ours(0)
	message, err := m.g.Propose(m.c.rand, mls.RemoveProposal(2), mls.Framing{Pad: pad})
	noError(t, err)
	if _, err := x.seats[1].receive(message); err == nil {
		t.Error(gone)
	}
	if _, err := x.seats[2].receive(message); err != nil {
		t.Errorf("talk/mls: %v", err)
	}
}

func TestMLSGo_MisreadsRequiredCapabilities(t *testing.T) {
	x := newTable(t, "ours", "mls-go", "ours")
	required := mls.RequiredCapabilities{Credentials: []mls.CredentialType{mls.CredentialBasic}}
	message, _, err := x.seats[0].commit([]proposal{{kind: proposeExtensions, extensions: []mls.Extension{required.Extension()}}}, true)
	noError(t, err)
	if _, err := x.seats[1].receive(message); err == nil {
		t.Error(gone)
	}
	if _, err := x.seats[2].receive(message); err != nil {
		t.Errorf("talk/mls: %v", err)
	}
}

// TestMLSGo_ParsesLeniently: one value has several encodings for mls-go. The
// one that hurt is external_pub (TestTSMLS_ExternalPubHasNoLength).
func TestMLSGo_ParsesLeniently(t *testing.T) {
	x := newTable(t, "ours")
	offer, err := x.newClient("ours", "offering").offer()
	noError(t, err)
	trailing := append(bytes.Clone(offer), 0)
	m, err := framing.UnmarshalMLSMessage(trailing)
	noError(t, err)
	if _, err := keypackages.UnmarshalKeyPackage(m.KeyPackage); err != nil {
		t.Error(gone, err)
	}
	if _, err := mls.ParseMessage(trailing); !errors.Is(err, mls.ErrMalformed) {
		t.Errorf("talk/mls, a key package with a byte behind it: %v", err)
	}
	// A commit whose proposal reference is wrapped in a second length.
	reference := append([]byte{2, 32}, make([]byte, 32)...)
	wrapped := append([]byte{byte(len(reference) + 1), byte(len(reference))}, reference...)
	if _, err := group.UnmarshalCommit(append(wrapped, 0)); err != nil {
		t.Error(gone, err)
	}
}
