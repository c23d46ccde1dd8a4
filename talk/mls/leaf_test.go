package mls

import (
	"bytes"
	"errors"
	"testing"
)

func TestKeyPackage_RulesOfRFC9420Section10(t *testing.T) {
	make := func(spoil func(*KeyPackage)) *KeyPackage {
		k, _, err := NewKeyPackage(testRand(1), X25519AES128, testSigner(1), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{5, 9})
		noError(t, err)
		spoil(k)
		noError(t, k.Leaf.sign(testSigner(1), nil, 0))
		var w writer
		k.encodeTBS(&w)
		k.Signature, err = sign(testSigner(1), "KeyPackageTBS", w.b)
		noError(t, err)
		w.vec(k.Signature)
		k.raw = w.b
		return k
	}
	noError(t, make(func(*KeyPackage) {}).Verify())
	for name, spoil := range map[string]func(*KeyPackage){
		"version":               func(k *KeyPackage) { k.Version = 2 },
		"suite":                 func(k *KeyPackage) { k.Suite = 2 },
		"leaf of another suite": func(k *KeyPackage) { k.Leaf.Capabilities.Suites = []CipherSuite{X25519ChaCha20} },
		"leaf for an update":    func(k *KeyPackage) { k.Leaf.Source = SourceUpdate },
		"init key again":        func(k *KeyPackage) { k.InitKey = k.Leaf.EncryptionKey },
		"init key of small order": func(k *KeyPackage) {
			k.InitKey = append([]byte{1}, bytes.Repeat([]byte{0}, 31)...)
		},
	} {
		if err := make(spoil).Verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for i, name := range []string{"signature", "leaf signature"} {
		k := make(func(*KeyPackage) {})
		if i == 0 {
			k.Signature[3] ^= 1
		} else {
			k.Leaf.Signature[3] ^= 1
			var w writer
			k.rebuild()
			k.encodeTBS(&w)
			k.Signature, _ = sign(testSigner(1), "KeyPackageTBS", w.b)
			k.rebuild()
		}
		if err := k.Verify(); !errors.Is(err, ErrUnauthentic) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := make(func(*KeyPackage) {})
	for now, good := range map[uint64]bool{4: false, 5: true, 9: true, 10: false} {
		if err := k.VerifyAt(now); (err == nil) != good {
			t.Errorf("at %d: %v", now, err)
		}
	}
	if _, err := parseKeyPackage(k.Message()[4:]); err != nil {
		t.Errorf("own message: %v", err)
	}
}

func TestLeaf_MustSatisfyWhatTheGroupRequires(t *testing.T) {
	full := Capabilities{Extensions: []ExtensionType{0xF001}, Proposals: []ProposalType{0xF002}, Credentials: []CredentialType{CredentialBasic, CredentialX509}}
	for name, c := range map[string]struct {
		context []Extension
		lacking func(*Capabilities)
	}{
		"required extension":  {[]Extension{RequiredCapabilities{Extensions: []ExtensionType{0xF001}}.Extension()}, func(c *Capabilities) { c.Extensions = nil }},
		"required proposal":   {[]Extension{RequiredCapabilities{Proposals: []ProposalType{0xF002}}.Extension()}, func(c *Capabilities) { c.Proposals = nil }},
		"required credential": {[]Extension{RequiredCapabilities{Credentials: []CredentialType{CredentialX509}}.Extension()}, func(c *Capabilities) { c.Credentials = c.Credentials[:1] }},
		"extension in use":    {[]Extension{{Type: 0xF001}}, func(c *Capabilities) { c.Extensions = nil }},
	} {
		if err := full.satisfies(c.context); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		lacking := full
		c.lacking(&lacking)
		if err := lacking.satisfies(c.context); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s is lacking: %v", name, err)
		}
	}
	defaults := RequiredCapabilities{Extensions: []ExtensionType{ExtApplicationID, ExtExternalSenders}, Proposals: []ProposalType{ProposalAdd, ProposalExtensions}}
	if err := (&Capabilities{}).satisfies([]Extension{defaults.Extension()}); err != nil {
		t.Errorf("what RFC 9420 gives every client is lacking: %v", err)
	}
}
