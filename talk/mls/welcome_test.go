package mls

import (
	"errors"
	"strings"
	"testing"
)

func TestWelcome_IsForItsKeyPackageOnly(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	rand := testRand(3)
	offer := func() (*KeyPackage, *KeyPackageSecrets) {
		k, s, err := NewKeyPackage(rand, X25519AES128, testSigner(90), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
		noError(t, err)
		return k, s
	}
	k, s := offer()
	other, os := offer()
	out, err := groups[0].Commit(rand, CommitOptions{Proposals: []Proposal{AddProposal(k)}})
	noError(t, err)
	m, err := ParseMessage(out.Welcome)
	noError(t, err)
	if m.Welcome.For(other) || !m.Welcome.For(k) {
		t.Error("For mistakes whom the Welcome is for")
	}
	o := JoinOptions{Signer: testSigner(90), Policy: anyPolicy()}
	if _, _, err := Join(m.Welcome, other, os, o); !errors.Is(err, ErrNotMember) {
		t.Errorf("another's Welcome: %v", err)
	}
	if _, _, err := Join(m.Welcome, k, os, o); !errors.Is(err, ErrInvalid) {
		t.Errorf("another's secrets: %v", err)
	}
	o.Parent = groups[0]
	if _, _, err := Join(m.Welcome, k, s, o); !errors.Is(err, ErrInvalid) {
		t.Errorf("a descent that is not claimed: %v", err)
	}
	o.Parent = nil
	if _, _, err := Join(m.Welcome, k, s, o); err != nil {
		t.Error(err)
	}
}

// TestWelcome_ByAnInsiderWhoLies re-makes a Welcome with one thing wrong and
// signs it properly.
func TestWelcome_ByAnInsiderWhoLies(t *testing.T) {
	groups := testGroup(t, X25519AES128, 3, anyPolicy())
	rand := testRand(3)
	s := groups[0].s
	k, secrets, err := NewKeyPackage(rand, X25519AES128, testSigner(90), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
	noError(t, err)
	out, err := groups[0].Commit(rand, CommitOptions{Path: true, Proposals: []Proposal{AddProposal(k)}})
	noError(t, err)
	m, err := ParseMessage(out.Welcome)
	noError(t, err)
	zero := make(secret, hashSize)
	try := func(spoil func(*GroupInfo, *groupSecrets)) error {
		gs, err := openGroupSecrets(s, secrets.init, m.Welcome.groupInfo, m.Welcome.entry(k))
		noError(t, err)
		gi, err := openGroupInfo(s, welcomeSecret(gs.joiner, zero), m.Welcome.groupInfo)
		noError(t, err)
		spoil(gi, &gs)
		var w writer
		gi.Context.encode(&w)
		w.extensions(gi.Extensions)
		w.vec(gi.confirmationTag)
		w.u32(uint32(gi.Signer))
		sig, err := sign(testSigner(0), "GroupInfoTBS", w.b)
		noError(t, err)
		w.vec(sig)
		key := welcomeSecret(gs.joiner, zero)
		wl := &Welcome{Suite: m.Welcome.Suite}
		wl.groupInfo, err = s.sealAEAD(expand(key, "key", nil, s.keySize), expand(key, "nonce", nil, nonceSize), nil, w.b)
		noError(t, err)
		var gw writer
		gs.encode(&gw)
		c, err := s.newSealer("Welcome", wl.groupInfo).encrypt(rand, k.InitKey, gw.b)
		noError(t, err)
		wl.secrets = []encryptedSecrets{{k.Ref(), c}}
		_, _, err = Join(wl, k, secrets, JoinOptions{Signer: testSigner(90), Policy: anyPolicy()})
		return err
	}
	noError(t, try(func(*GroupInfo, *groupSecrets) {}))
	psk := PSKID{Type: PSKExternal, ID: []byte("p"), Nonce: make([]byte, 32)}
	for _, c := range []struct {
		name, want string
		spoil      func(*GroupInfo, *groupSecrets)
	}{
		{"confirmation tag", "confirmation tag", func(gi *GroupInfo, _ *groupSecrets) { gi.confirmationTag = make([]byte, 32) }},
		{"epoch", "confirmation tag", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Epoch++ }},
		{"tree hash", "tree of another epoch", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.TreeHash = make([]byte, 32) }},
		{"suite", "group of", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Suite = X25519ChaCha20 }},
		{"signer", "signature of GroupInfoTBS", func(gi *GroupInfo, _ *groupSecrets) { gi.Signer = 1 }},
		{"signer who is nobody", "who is nobody", func(gi *GroupInfo, _ *groupSecrets) { gi.Signer = 77 }},
		{"no tree", "no ratchet tree", func(gi *GroupInfo, _ *groupSecrets) { gi.Extensions = nil }},
		{"path secret", "not what its secret gives", func(_ *GroupInfo, gs *groupSecrets) { gs.path = zero }},
		{"short path secret", "secret of 3 bytes", func(_ *GroupInfo, gs *groupSecrets) { gs.path = zero[:3] }},
		{"one key twice", "one pre-shared key twice", func(_ *GroupInfo, gs *groupSecrets) { gs.psks = []PSKID{psk, psk} }},
		{"unknown key", "unknown pre-shared key", func(_ *GroupInfo, gs *groupSecrets) { gs.psks = []PSKID{psk} }},
		{"group id", "signature of LeafNodeTBS", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.GroupID = []byte("another") }},
		{"extension nobody supports", "is not supported", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Extensions = []Extension{{Type: 0xF00F}} }},
	} {
		if err := try(c.spoil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
